"""Contestants, measured in turn round by round: what disturbs the machine disturbs them all."""

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final

from benchmarks import machine
from benchmarks.results import Row
from benchmarks.setting import Setting, Size

FAILED: Final = "failed:"
CPU: Final = "cpu_us"
US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """What one contestant did in one round: the value that counts, and others by their names.

    `messages` is how many it was, if that is not the same in every round.
    """

    value: float
    details: Mapping[str, float] = field(default_factory=dict)
    messages: int | None = None


@dataclass(frozen=True, slots=True)
class Contestant:
    """Somebody who is measured. `run` is called once a round."""

    name: str
    run: Callable[[], Reading]


@dataclass(frozen=True, slots=True)
class Absent:
    """Somebody who cannot be measured here, and why."""

    name: str
    reason: str


Entrants = Iterator[Contestant | Absent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One thing that is measured.

    `enter` starts what the contestants need, to be stopped with the stack, and yields them.
    `is_short` says whether it is part of the short form. `messages` is how many a round has: the
    processor time of the whole machine is told for each.
    """

    name: str
    title: str
    unit: str = "/s"
    enter: Callable[[Setting, ExitStack], Entrants]
    is_short: bool = False
    is_once: bool = False
    messages: Callable[[Size], int] | None = None


def measure_rows(measure: Measure, setting: Setting) -> Iterator[Row | Absent]:
    """A row for every contestant; one that fails is absent, and the others go on."""
    with ExitStack() as stack:
        entered = list(_enter_all(measure, setting, stack))
        yield from (entrant for entrant in entered if isinstance(entrant, Absent))
        contestants = [entrant for entrant in entered if isinstance(entrant, Contestant)]
        readings: dict[str, list[Reading]] = {contestant.name: [] for contestant in contestants}
        for number in range(1 if measure.is_once else setting.rounds):
            for contestant in _rotate(contestants, number):
                _say(f"{measure.title}, round {number + 1}: {contestant.name}")
                try:
                    readings[contestant.name].append(_read(measure, contestant, setting))
                except Exception as error:  # noqa: BLE001 - it is told, and the run goes on
                    contestants.remove(contestant)
                    yield Absent(contestant.name, f"{FAILED} {error!r}")
        for contestant in contestants:
            yield _row(measure, contestant.name, readings[contestant.name])
            if measure.messages is not None:
                values = [reading.details[CPU] for reading in readings[contestant.name]]
                yield Row(f"{measure.name}, processor time", contestant.name, "µs", values, {})


def _read(measure: Measure, contestant: Contestant, setting: Setting) -> Reading:
    """Run a round; the processor time is that of the load and the kernel, too."""
    before = machine.busy_seconds()
    reading = contestant.run()
    if measure.messages is None:
        return reading
    messages = reading.messages or measure.messages(setting.size)
    used_us = (machine.busy_seconds() - before) * US / messages
    return replace(reading, details={**reading.details, CPU: used_us})


def _enter_all(measure: Measure, setting: Setting, stack: ExitStack) -> Entrants:
    """Those that the measure enters, up to the first that cannot be started."""
    try:
        yield from measure.enter(setting, stack)
    except Exception as error:  # noqa: BLE001 - as above
        yield Absent("those that could not be started", f"{FAILED} {error!r}")


def _rotate(contestants: Sequence[Contestant], by: int) -> list[Contestant]:
    """Nobody is always the first, or always after the same one."""
    start = by % len(contestants) if contestants else 0
    return [*contestants[start:], *contestants[:start]]


def _row(measure: Measure, name: str, readings: Sequence[Reading]) -> Row:
    details = {
        key: statistics.median(reading.details[key] for reading in readings)
        for key in readings[0].details
    }
    values = [reading.value for reading in readings]
    return Row(measure.name, name, measure.unit, values, details)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
