"""What has to hold, as a table of ratios and bounds, each compared with one run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks import smtp
from benchmarks.contestants import postfix, task_queues
from benchmarks.heloise import POSTGRESQL, SQLITE
from benchmarks.measures import (
    accept,
    drain,
    end_to_end,
    history,
    idle,
    large,
    latency,
    memory,
    round_trip,
    submission,
)
from benchmarks.measures.smtp_engine import TO_PLAIN_SINK, TO_SINK
from benchmarks.results import Results
from benchmarks.setting import FULL


@dataclass(frozen=True, slots=True)
class Figure:
    """A value in the results: a contestant's median in a measure, or one of its details."""

    measure: str
    contestant: str
    detail: str | None = None

    def read(self, results: Results) -> float | None:
        """The value, or None where it was not measured."""
        row = results.find(self.measure, self.contestant)
        if row is None:
            return None
        return row.median if self.detail is None else row.details.get(self.detail)


@dataclass(frozen=True, slots=True)
class Target:
    """A figure, by itself or divided by another one, and the bound that it has to keep to."""

    sentence: str
    figure: Figure
    over: Figure | None = None
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "times"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target beside what was measured."""

    target: Target
    value: float

    @property
    def is_met(self) -> bool:
        """Whether the bound is kept to."""
        low, high = self.target.at_least, self.target.at_most
        return (low is None or self.value >= low) and (high is None or self.value <= high)


def judge_results(results: Results) -> Iterator[Verdict]:
    """Every target of which both figures were measured."""
    for target in TARGETS:
        value = target.figure.read(results)
        over = target.over.read(results) if target.over else 1.0
        if value is not None and over:
            yield Verdict(target, value / over)


def _on_both(sentence: str, measure: str, rival: str, at_least: float) -> tuple[Target, ...]:
    """The same ratio for Heloise on SQLite and on PostgreSQL."""
    return tuple(_over(name, sentence, measure, rival, at_least) for name in (SQLITE, POSTGRESQL))


def _over(name: str, sentence: str, measure: str, rival: str, at_least: float) -> Target:
    """The ratio of one contestant to another in the same measure."""
    return Target(
        f"{name}: {sentence}", Figure(measure, name), Figure(measure, rival), at_least=at_least
    )


def _tail(name: str) -> Target:
    figures = (Figure(accept.NAME, name, detail) for detail in ("p99_ms", "p50_ms"))
    return Target(f"{name}: accept's p99 over its p50", *figures, at_most=5)


def _flat(kind: str, detail: str | None, what: str, *, is_time: bool = False) -> Target:
    """The cost with the longest history is that with the shortest, but for the noise."""
    short, *_, long = (history.name_of(kind, old) for old in FULL.histories)
    return Target(
        f"{kind}: {what} after {FULL.histories[-1]:,} messages, over that after a few",
        Figure(history.NAME, long, detail),
        Figure(history.NAME, short, detail),
        **({"at_most": 1.25} if is_time else {"at_least": 0.8}),
    )


def _large(measure: str, what: str) -> Iterator[Target]:
    """The memory that 25 MB takes, and how long others wait meanwhile."""
    for kind in (SQLITE, POSTGRESQL):
        yield Target(f"{kind}: memory of {what}, over its size", Figure(measure, kind), at_most=4)
    for kind in (SQLITE, POSTGRESQL):
        yield Target(
            f"{kind}: longest stall beside {what}",
            Figure(measure, kind, "stall_ms"),
            at_most=50,
            unit="ms",
        )


TARGETS: Final = (
    *_on_both("accept, over the floor without a database", accept.NAME, accept.FLOOR, 0.45),
    _over(SQLITE, "accept, over the naive service", accept.NAME, accept.NAIVE_SQLITE, 6),
    _over(POSTGRESQL, "accept, over the naive service", accept.NAME, accept.NAIVE_POSTGRESQL, 4),
    _tail(SQLITE),
    _tail(POSTGRESQL),
    *_on_both("SMTP submission, over Postfix's smtpd", submission.NAME, postfix.NAME, 1.5),
    _over(
        submission.TWO_PROCESSES,
        "SMTP submission, over Postfix's smtpd",
        submission.NAME,
        postfix.NAME,
        1.5,
    ),
    *(
        _over(kind, "SMTP submission, over POST /messages", submission.NAME, post, 1)
        for kind, post in submission.POSTS.items()
    ),
    Target(
        "SMTP alone, pipelining: over aiosmtplib, pooled",
        Figure(TO_SINK.name, smtp.HELOISE),
        Figure(TO_SINK.name, smtp.AIOSMTPLIB),
        at_least=5,
    ),
    Target(
        "SMTP alone, pipelining: over the limit written by hand",
        Figure(TO_SINK.name, smtp.HELOISE),
        Figure(TO_SINK.name, smtp.LIMIT),
        at_least=0.6,
    ),
    Target(
        "SMTP alone, without PIPELINING: over aiosmtplib, pooled",
        Figure(TO_PLAIN_SINK.name, smtp.HELOISE),
        Figure(TO_PLAIN_SINK.name, smtp.AIOSMTPLIB),
        at_least=1,
    ),
    *_on_both("end to end, over Postfix", end_to_end.NAME, postfix.NAME, 3),
    _over(
        SQLITE,
        "end to end, over django-post-office",
        end_to_end.NAME,
        end_to_end.POST_OFFICE_SQLITE,
        5,
    ),
    _over(
        POSTGRESQL,
        "end to end, over django-post-office",
        end_to_end.NAME,
        end_to_end.POST_OFFICE_POSTGRESQL,
        5,
    ),
    *(
        _over(
            POSTGRESQL,
            f"end to end, over {task_queues.NAME.format(kind)}",
            end_to_end.NAME,
            task_queues.NAME.format(kind),
            at_least,
        )
        for kind, at_least in zip(task_queues.PACKAGES, (7, 4.5, 4, 5), strict=True)
    ),
    Target(
        f"{SQLITE}: a large backlog drained",
        Figure(drain.BACKLOG, SQLITE),
        at_least=6000,
        unit="/s",
    ),
    Target(
        "SMTP alone, round trip 20 ms, 10 connections",
        Figure(round_trip.name_of(20), smtp.HELOISE),
        at_least=400,
        unit="/s",
    ),
    *(
        Target(
            f"{name}: idle, POST to the final dot",
            Figure(latency.NAME, name),
            at_most=8,
            unit="ms",
        )
        for name in (SQLITE, POSTGRESQL)
    ),
    *(
        Target(f"{name}: idle, memory", Figure(idle.NAME, name), at_most=90, unit="MB")
        for name in (SQLITE, POSTGRESQL)
    ),
    *(
        Target(
            f"{name}: idle, processor",
            Figure(idle.NAME, name, "cpu_percent"),
            at_most=0.5,
            unit="%",
        )
        for name in (SQLITE, POSTGRESQL)
    ),
    Target(
        f"{POSTGRESQL}: idle, transactions",
        Figure(idle.NAME, POSTGRESQL, "transactions_per_second"),
        at_most=1,
        unit="/s",
    ),
    *(_flat(kind, None, "accept") for kind in (SQLITE, POSTGRESQL)),
    *(_flat(kind, "drained_per_second", "drain") for kind in (SQLITE, POSTGRESQL)),
    *(_flat(kind, "list_p50_ms", "list", is_time=True) for kind in (SQLITE, POSTGRESQL)),
    *(
        _flat(kind, "console_p50_ms", "the console's list", is_time=True)
        for kind in (SQLITE, POSTGRESQL)
    ),
    *(
        Target(
            f"{kind}: a worker's memory with {FULL.queued:,} queued, over that with few",
            Figure(memory.NAME, memory.name_of(kind, FULL.queued)),
            Figure(memory.NAME, memory.name_of(kind, memory.FEW)),
            at_most=1.25,
        )
        for kind in (SQLITE, POSTGRESQL)
    ),
    *_large(large.NAME, "a request of 25 MB"),
    *_large(submission.LARGE, "a submission of 25 MB"),
)
