"""Ask a service again and again beside a load: how long each answer takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Final

LOOK_SECONDS: Final = 0.005


@contextmanager
def watching(ask: Callable[[], object]) -> Iterator[list[float]]:
    """Call `ask` beside the block: how many seconds each call took, once the block has ended.

    A process of its own calls: in this one it would wait for the load's work, too.
    """
    context = get_context("spawn")
    took_seconds: list[float] = []
    ours, its = context.Pipe()
    watcher = context.Process(target=_watch, args=(ask, its))
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


def _watch(ask: Callable[[], object], asked: Connection) -> None:
    took_seconds = []
    asked.send(None)
    while not asked.poll(LOOK_SECONDS):
        started_at = time.monotonic()
        ask()
        took_seconds.append(time.monotonic() - started_at)
    with suppress(EOFError):  # nobody wants to know
        asked.recv()
        asked.send(took_seconds)
