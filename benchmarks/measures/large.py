"""What a file of 25 MB costs: memory a request, and how long the others wait meanwhile."""

import asyncio
import json
import os
from base64 import b64encode
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.heloise import Entry, enter_heloise, warm_up
from benchmarks.machine import clear_peak, memory_mb
from benchmarks.rounds import Absent, Contestant, Entrants, Measure, Reading
from benchmarks.setting import Setting
from benchmarks.trial.load import put_load, request
from benchmarks.trial.message import BODY
from benchmarks.trial.processes import read, unused_port
from benchmarks.trial.service import ACCEPTED
from benchmarks.watching import watching

NAME: Final = "large"
BODY_BYTES: Final = 25_000_000
BYTES_PER_MB: Final = 1024 * 1024
OVERLOADED: Final = 503  # the memory for what waits to be stored is bounded


def large_content() -> bytes:
    """A request with a file, 25 MB in base64."""
    file = b64encode(os.urandom(BODY_BYTES * 3 // 4)).decode()
    return json.dumps({**BODY, "attachments": [{"filename": "a.bin", "content": file}]}).encode()


def _enter(setting: Setting, stack: ExitStack) -> Entrants:
    content = large_content()
    for entry in enter_heloise(setting, stack, unused_port(), "--no-delivery"):
        if isinstance(entry, Absent):
            yield entry
        else:
            run = partial(_run, warm_up(entry), content, setting.size.large)
            yield Contestant(entry.name, run)


def _run(entry: Entry, content: bytes, at_once: int) -> Reading:
    one = _cost(entry, content, 1)
    many = _cost(entry, content, at_once)
    return Reading(
        one.memory_mb / (len(content) / BYTES_PER_MB),
        {
            "stall_ms": one.stall_ms,
            f"{at_once}_at_once_mb": many.memory_mb,
            f"{at_once}_at_once_stall_ms": many.stall_ms,
            f"{at_once}_at_once_refused": many.refused,
        },
    )


@dataclass(frozen=True, slots=True)
class _Cost:
    """The most memory that some requests at once take, the longest stall, and who got a 503."""

    memory_mb: float
    stall_ms: float
    refused: int


def _cost(entry: Entry, content: bytes, count: int) -> _Cost:
    pid, url = entry.served.process.pid, f"{entry.served.url}/messages"
    post_request = request("POST", url, entry.served.headers, content)
    before_mb = memory_mb(pid)
    clear_peak(pid)
    with watching(partial(read, f"{entry.served.url}/healthz")) as took_seconds:
        load = asyncio.run(put_load(url, post_request, requests=count, connections=count))
    if not set(load.statuses) <= {ACCEPTED, OVERLOADED}:
        raise RuntimeError(f"POST /messages answered {dict(load.statuses)}")
    return _Cost(
        memory_mb(pid, peak=True) - before_mb,
        max(took_seconds) * 1000,
        load.statuses[OVERLOADED],
    )


MEASURE: Final = Measure(
    name=NAME,
    title="A file of 25 MB in base64: memory a request",
    unit="times its size",
    enter=_enter,
    is_once=True,
)
