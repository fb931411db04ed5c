"""Whether a worker's memory depends on how much is queued."""

import time
from contextlib import ExitStack
from functools import partial
from typing import Final

from benchmarks.cloning import clone_messages, tidy
from benchmarks.heloise import NO_POSTGRESQL, POSTGRESQL, SQLITE, Entry, enter
from benchmarks.machine import memory_mb
from benchmarks.rounds import Absent, Contestant, Entrants, Measure, Reading
from benchmarks.setting import Setting
from benchmarks.trial.sink import Counts, running_sink

NAME: Final = "memory"
FEW: Final = 1000
WATCHED: Final = 900  # messages that are delivered while the memory is watched
POLL_SECONDS: Final = 0.02
WITHIN_SECONDS: Final = 120.0


def name_of(kind: str, queued: int) -> str:
    """The contestant: a worker on a kind of database, with so many messages queued."""
    return f"{kind}, {queued:,} queued"


def _enter(setting: Setting, stack: ExitStack) -> Entrants:
    port, counts = stack.enter_context(running_sink())
    for queued in (FEW, setting.size.queued):
        yield _on(setting, port, counts, name_of(SQLITE, queued), setting.new_sqlite(), queued)
        name = name_of(POSTGRESQL, queued)
        if setting.new_postgresql is None:
            yield Absent(name, NO_POSTGRESQL)
        else:
            yield _on(setting, port, counts, name, setting.new_postgresql(), queued)


def _on(
    setting: Setting, port: int, counts: Counts, name: str, url: str, queued: int
) -> Contestant:
    with ExitStack() as served:
        entry = enter(setting, served, port, url, "--no-delivery", name=name)
        entry.served.accept(1, connections=1)
    clone_messages(url, copies=queued - 1)
    tidy(url)
    return Contestant(name, partial(_run, entry, counts))


def _run(entry: Entry, counts: Counts) -> Reading:
    counts.reset()
    deadline = time.monotonic() + WITHIN_SECONDS
    with entry.service.working() as worker:
        while counts.messages < WATCHED:
            if time.monotonic() > deadline or worker.poll() is not None:
                raise TimeoutError(f"{counts.messages} messages arrived")
            time.sleep(POLL_SECONDS)
        return Reading(memory_mb(worker.pid, peak=True))


MEASURE: Final = Measure(
    name=NAME,
    title="Memory of a worker at the most, while it begins with a queue",
    unit="MB",
    enter=_enter,
    is_once=True,
)
