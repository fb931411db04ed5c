"""`python -m benchmarks.batch`: 1000 messages in one request, beside as many requests.

Both on one served Heloise over a new SQLite file, taking turns; of each the median round counts.
The database's file goes where TMPDIR says. Messages have 2 KB of text and HTML.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

import httpx

from benchmarks.heloise import CONNECTIONS
from benchmarks.trial.message import BODY
from benchmarks.trial.processes import unused_port
from benchmarks.trial.service import Served, TrialService

MESSAGES: Final = 1000
ROUNDS: Final = 5
TIMEOUT_SECONDS: Final = 120
CONTENT: Final = json.dumps({"messages": [BODY] * MESSAGES}).encode()


def in_one(served: Served) -> float:
    """How many seconds one request for all takes."""
    headers = {"Authorization": f"Bearer {served.key}", "Content-Type": "application/json"}
    start = time.monotonic()
    answer = httpx.post(
        f"{served.url}/messages/batch", content=CONTENT, headers=headers, timeout=TIMEOUT_SECONDS
    )
    seconds = time.monotonic() - start
    accepted = [result["status"] for result in answer.json()["results"]]
    if accepted != [httpx.codes.ACCEPTED] * MESSAGES:
        raise RuntimeError(f"the batch was answered {answer.status_code}: {answer.text[:200]}")
    return seconds


def one_by_one(served: Served) -> float:
    """How many seconds as many requests take, over several connections."""
    return MESSAGES / served.accept(MESSAGES, connections=CONNECTIONS).per_second


def main() -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as folder:
        service = TrialService(Path(folder), f"sqlite:///{folder}/heloise.db")
        service.prepare(smtp_port=unused_port())
        with service.serving("--no-delivery") as trial:
            timings = [(in_one(trial), one_by_one(trial)) for _ in range(ROUNDS + 1)][1:]
    batch, single = (median(values) for values in zip(*timings, strict=True))
    sys.stdout.write(
        f"1000 messages in one request: {batch:.3f} s, from {min(b for b, _ in timings):.3f} to"
        f" {max(b for b, _ in timings):.3f}\n"
        f"1000 requests, {CONNECTIONS} at a time: {single:.3f} s\n"
        f"ratio: {single / batch:.2f}\n"
    )


if __name__ == "__main__":
    main()
