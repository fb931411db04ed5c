"""A load by wrk, a client in C: it takes about a fifth of the processor time of `load`."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SCRIPT: Final = Path(__file__).with_name("wrk.lua")
RESULT: Final = re.compile(r"^result (\d+) (\d+) (\d+) (\d+) (\d+)$", re.MULTILINE)
US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class WrkLoad:
    """How wrk's requests were answered."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float


def find_wrk() -> str | None:
    """Find the program."""
    return shutil.which("wrk")


def post(
    url: str, headers: Mapping[str, str], body: bytes, *, connections: int, seconds: int
) -> WrkLoad:
    """Post a JSON body again and again; raise RuntimeError if a request fails."""
    words = [find_wrk() or "wrk", "--threads", "1", "--connections", str(connections)]
    words += ["--duration", f"{seconds}s", "--script", str(SCRIPT)]
    for name, value in headers.items():
        words += ["--header", f"{name}: {value}"]
    with tempfile.NamedTemporaryFile(prefix="heloise-bench-") as file:
        file.write(body)
        file.flush()
        result = subprocess.run(  # noqa: S603 - our own words
            [*words, url, "--", file.name], capture_output=True, text=True, check=True
        )
    match = RESULT.search(result.stdout)
    if match is None:
        raise RuntimeError(f"wrk printed no result: {result.stdout}{result.stderr}")
    requests, duration_us, p50_us, p99_us, failed = map(int, match.groups())
    if failed or not requests:
        raise RuntimeError(f"{failed} of {requests} requests failed")
    return WrkLoad(requests, requests * US / duration_us, p50_us / 1000, p99_us / 1000)
