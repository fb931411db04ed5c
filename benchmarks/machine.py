"""The machine that is measured on, and what the kernel tells of a process."""

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.trial.database import fsyncs_per_second

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
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


def facts(folder: Path) -> dict[str, str]:
    """What two runs must have in common to be compared by their figures.

    The disk is that of `folder`: every acceptance waits for an fsync, alone or with others.
    """
    return {
        "CPUs": f"{os.cpu_count()} of {_processor()}",
        "disk": f"{fsyncs_per_second(folder, count=FSYNCS):.0f} fsyncs a second, one after another",
        "system": f"{platform.system()} on {platform.machine()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    return done.stdout.strip() or "unknown"


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
