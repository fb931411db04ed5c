"""The machine that is measured on, and what the kernel tells of a process."""

import os
import platform
import subprocess
import sysconfig
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from app.diagnostics.machine_findings import list_missing_optimizations
from benchmarks.trial.database import fsyncs_per_second
from benchmarks.trial.wrk import find_wrk

FSYNCS: Final = 200
ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = (
    "fastapi",
    "pydantic",
    "sqlalchemy",
    "asyncpg",
    "aiosmtplib",
    "uvicorn",
    "uvloop",
)
CLEAR_PEAK: Final = "5"
KB_PER_MB: Final = 1024
WARNING: Final = "warning"  # among the facts, if the machine was not quiet
WATCH_SECONDS: Final = 1.0
QUIET_SHARE: Final = 0.05
QUIET_FSYNC_RATIO: Final = 1.5
IDLE: Final = slice(3, 5)  # the fields of /proc/stat, with the wait for disks
STEAL: Final = 7
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Noise:
    """What a machine does while nothing is measured; the shares are of all its processors."""

    busy_share: float
    stolen_share: float
    fsyncs_per_second: float


def watch_noise(folder: Path) -> Noise:
    """Watch the machine for a second, and the disk of a folder."""
    before = _processor_ticks()
    time.sleep(WATCH_SECONDS)
    ticks = [now - then for now, then in zip(_processor_ticks(), before, strict=True)]
    whole = sum(ticks) or 1
    return Noise(
        busy_share=(whole - sum(ticks[IDLE]) - ticks[STEAL]) / whole,
        stolen_share=ticks[STEAL] / whole,
        fsyncs_per_second=fsyncs_per_second(folder, count=FSYNCS),
    )


def busy_seconds() -> float:
    """Read how long all processors have worked, for programs and the kernel."""
    ticks = _processor_ticks()
    return (sum(ticks) - sum(ticks[IDLE]) - ticks[STEAL]) / TICKS_PER_SECOND


def _processor_ticks() -> list[int]:
    """Read the time of all processors: user, nice, system, idle, iowait, irq, softirq, steal."""
    return [int(ticks) for ticks in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]


def describe_noise(before: Noise, after: Noise) -> str | None:
    """Say why figures of the time between are less certain; None if the machine was quiet."""
    busy, stolen = (
        max(getattr(noise, name) for noise in (before, after))
        for name in ("busy_share", "stolen_share")
    )
    slow, fast = sorted((before.fsyncs_per_second, after.fsyncs_per_second))
    reasons = []
    if busy > QUIET_SHARE:
        reasons.append(f"other programs used {busy:.0%} of the processors")
    if stolen > QUIET_SHARE:
        reasons.append(f"other machines on the same host took {stolen:.0%} of the processors")
    if fast > QUIET_FSYNC_RATIO * slow:
        reasons.append(f"the disk made {slow:.0f} to {fast:.0f} fsyncs a second")
    return "; ".join(reasons) or None


def facts(folder: Path) -> dict[str, str]:
    """What two runs must have in common to be compared by their figures.

    The disk is that of `folder`: every acceptance waits for an fsync, alone or with others.
    """
    return {
        "CPUs": f"{os.cpu_count()} of {_processor()}",
        "disk": f"{fsyncs_per_second(folder, count=FSYNCS):.0f} fsyncs a second, one after another",
        "system": f"{platform.system()} on {platform.machine()}",
        "Python": _python(),
        "load of accept": "wrk" if find_wrk() else "written in Python",
        **{name: version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def _python() -> str:
    """The version, and what makes it slower than that of others."""
    missing = list_missing_optimizations(sysconfig.get_config_var("CONFIG_ARGS"))
    without = f", without {' and '.join(missing)}" if missing else ""
    return f"{platform.python_version()}{without}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    return result.stdout.strip() or "unknown"


def memory_mb(pid: int, *, peak: bool = False) -> float:
    """The memory of a process that is in use now, or was at the most since `clear_peak`."""
    name = "VmHWM" if peak else "VmRSS"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / KB_PER_MB
    raise ProcessLookupError(pid)


def clear_peak(pid: int) -> None:
    """Begin anew to note the most memory that a process uses."""
    Path(f"/proc/{pid}/clear_refs").write_text(CLEAR_PEAK)


def cpu_seconds(pid: int) -> float:
    """How much processor time a process has used."""
    return sum(map(int, _stat(pid)[11:13])) / TICKS_PER_SECOND


def family_cpu_seconds(pid: int) -> float:
    """How much processor time a process and its children have used, ended ones included."""
    ticks, parent = sum(map(int, _stat(pid)[11:15])), str(pid)
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if (fields := _stat(int(path.name)))[1] == parent:
                ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS_PER_SECOND


def parent_of(pid: int) -> int:
    """The id of the process that started another."""
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` behind the name: proc(5) numbers them from 3."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
