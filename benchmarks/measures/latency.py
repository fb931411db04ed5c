"""How long an idle service takes from a request to the final dot of its message at the server."""

import statistics
import time
from contextlib import ExitStack
from functools import partial
from typing import Final

from benchmarks.heloise import Entry, enter_heloise, warm_up
from benchmarks.rounds import Absent, Contestant, Entrants, Measure, Reading
from benchmarks.setting import Setting
from benchmarks.trial.sink import Counts, running_sink

NAME: Final = "latency"
WITHIN_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.001
REST_SECONDS: Final = 0.05  # until the outcome is settled: the service is idle again


def _enter(setting: Setting, stack: ExitStack) -> Entrants:
    port, counts = stack.enter_context(running_sink())
    for entry in enter_heloise(setting, stack, port):
        if isinstance(entry, Absent):
            yield entry
            continue
        counts.reset()
        warm_up(entry)
        yield Contestant(entry.name, partial(_run, entry, counts, setting.size.idle_latencies))


def _run(entry: Entry, counts: Counts, messages: int) -> Reading:
    while entry.served.unfinished():
        time.sleep(REST_SECONDS)
    took_ms = sorted(_latency_ms(entry, counts) for _ in range(messages))
    return Reading(statistics.median(took_ms), {"longest_ms": took_ms[-1]})


def _latency_ms(entry: Entry, counts: Counts) -> float:
    """One message. The server's clock is this process's: the same machine's, monotonic."""
    time.sleep(REST_SECONDS)
    counts.reset()
    load = entry.served.accept(1, connections=1)
    deadline = load.started_at_seconds + WITHIN_SECONDS
    while counts.messages < 1:
        if time.monotonic() > deadline:
            raise TimeoutError("the message did not arrive")
        time.sleep(LOOK_SECONDS)
    return (counts.last_at_seconds - load.started_at_seconds) * 1000


MEASURE: Final = Measure(
    name=NAME,
    title="Idle service: from POST to the final dot at the server",
    unit="ms",
    enter=_enter,
    is_short=True,
)
