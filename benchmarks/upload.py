"""`python -m benchmarks.upload`: messages as JSON Lines, few and many, and the memory they take.

On one served Heloise over a new SQLite file, whose file goes where TMPDIR says. Messages have 2 KB
of text and HTML. On Linux, whose `/proc` tells the most memory that a process has had.
"""

import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx

from benchmarks.trial.message import BODY
from benchmarks.trial.processes import unused_port
from benchmarks.trial.service import Served, TrialService

FEW: Final = 1_000
MANY: Final = 100_000
TIMEOUT_SECONDS: Final = 600
LINE: Final = json.dumps(BODY).encode() + b"\n"
AT_ONCE: Final = 50
PEAK: Final = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def upload(served: Served, messages: int) -> float:
    """How many messages a second are accepted."""

    def lines() -> Iterator[bytes]:
        for _ in range(messages // AT_ONCE):
            yield LINE * AT_ONCE

    headers = {"Authorization": f"Bearer {served.key}", "Content-Type": "application/jsonl"}
    start = time.monotonic()
    answer = httpx.post(
        f"{served.url}/messages/upload", content=lines(), headers=headers, timeout=TIMEOUT_SECONDS
    )
    seconds = time.monotonic() - start
    progress = json.loads(answer.text.splitlines()[-1])
    if progress != {"lines": messages, "accepted": messages, "refused": 0, "is_done": True}:
        raise RuntimeError(f"the upload was answered {answer.status_code}: {answer.text[-200:]}")
    return messages / seconds


def peak_bytes(served: Served) -> int:
    """The most memory that the service has had."""
    status = Path(f"/proc/{served.process.pid}/status").read_text(encoding="ascii")
    match = PEAK.search(status)
    if match is None:
        raise RuntimeError("this system does not tell how much memory a process has had")
    return int(match[1]) * 1024


def main() -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as folder:
        service = TrialService(Path(folder), f"sqlite:///{folder}/heloise.db")
        service.prepare(smtp_port=unused_port())
        with service.serving("--no-delivery") as trial:
            few = upload(trial, FEW)
            after_few = peak_bytes(trial)
            many = upload(trial, MANY)
            after_many = peak_bytes(trial)
    sys.stdout.write(
        f"{FEW} messages: {few:.0f}/s, at most {after_few / 1e6:.0f} MB\n"
        f"{MANY} messages: {many:.0f}/s, at most {after_many / 1e6:.0f} MB\n"
        f"ratio of memory: {after_many / after_few:.2f}\n"
    )


if __name__ == "__main__":
    main()
