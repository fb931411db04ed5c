"""What a file of 25 MB costs: memory a request, and how long the others wait meanwhile."""

import asyncio
import json
import os
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Final

from benchmarks.heloise import Entry, entered, warmed
from benchmarks.machine import clear_peak, memory_mb
from benchmarks.rounds import Absent, Contestant, Entrants, Measure, Reading
from benchmarks.setting import Setting
from benchmarks.trial.load import put_load, request
from benchmarks.trial.message import BODY
from benchmarks.trial.processes import read, unused_port
from benchmarks.trial.service import ACCEPTED

NAME: Final = "large"
BODY_BYTES: Final = 25_000_000
BYTES_PER_MB: Final = 1024 * 1024
LOOK_SECONDS: Final = 0.005
OVERLOADED: Final = 503  # the memory for what waits to be stored is bounded


def large_content() -> bytes:
    """A request with a file, 25 MB in base64."""
    file = b64encode(os.urandom(BODY_BYTES * 3 // 4)).decode()
    return json.dumps({**BODY, "attachments": [{"filename": "a.bin", "content": file}]}).encode()


def _enter(setting: Setting, stack: ExitStack) -> Entrants:
    content = large_content()
    for entry in entered(setting, stack, unused_port(), "--no-delivery"):
        if isinstance(entry, Absent):
            yield entry
        else:
            run = partial(_run, warmed(entry), content, setting.size.large)
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
    asked = request("POST", url, entry.served.headers, content)
    before_mb = memory_mb(pid)
    clear_peak(pid)
    with _watched(f"{entry.served.url}/healthz") as took_seconds:
        load = asyncio.run(put_load(url, asked, requests=count, connections=count))
    if not set(load.statuses) <= {ACCEPTED, OVERLOADED}:
        raise RuntimeError(f"POST /messages answered {dict(load.statuses)}")
    return _Cost(
        memory_mb(pid, peak=True) - before_mb,
        max(took_seconds) * 1000,
        load.statuses[OVERLOADED],
    )


@contextmanager
def _watched(url: str) -> Iterator[list[float]]:
    """Ask for a URL again and again beside the block: how long each answer took.

    A process of its own asks: in this one it would wait for the load's work, too.
    """
    context = get_context("spawn")
    took_seconds: list[float] = []
    ours, its = context.Pipe()
    watcher = context.Process(target=_watch, args=(url, its))
    watcher.start()
    its.close()
    try:
        ours.recv()  # it has begun
        yield took_seconds
        ours.send(None)
        took_seconds += ours.recv()
    finally:
        ours.close()
        watcher.join()


def _watch(url: str, asked: Connection) -> None:
    took_seconds = []
    asked.send(None)
    while not asked.poll(LOOK_SECONDS):
        started_at = time.monotonic()
        read(url)
        took_seconds.append(time.monotonic() - started_at)
    with suppress(EOFError):  # nobody wants to know
        asked.recv()
        asked.send(took_seconds)


MEASURE: Final = Measure(
    name=NAME,
    title="A file of 25 MB in base64: memory a request",
    unit="times its size",
    enter=_enter,
    is_once=True,
)
