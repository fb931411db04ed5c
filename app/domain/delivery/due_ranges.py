"""Decide which due times of a queue a worker reads, so that dead index entries cost little.

PostgreSQL keeps an entry in the index of due messages for every message that was leased or settled
since the oldest open transaction began, and a search passes all of them. If that takes long, only
some rounds of polls and claims are *full*. The others read of each queue only where messages may
have appeared since the last look:

- at the turns of what was accepted since then, by the head start of each priority,
- what has become due since then: retries, scheduled messages, ends of leases,
- behind the last message that was claimed, if the claim left some.

Anything else, such as a message that another worker has released, waits for the next full round.
Full rounds take about a twentieth of the time, and come at least once a minute.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from app.domain.clock import monotonic_seconds
from app.domain.delivery.priority import HEAD_START
from app.domain.ids import EPOCH

# Full polls are slow if two in a row take longer, for one alone may have waited for a busy machine;
# they may take a little more for each profile at work.
SLOW_SECONDS: Final = 0.05
SLOW_SECONDS_PER_PROFILE: Final = 0.00005
# How many times its own duration a full round waits after the last one, and at most how long.
PAUSE_FACTOR: Final = 20
MAX_PAUSE_SECONDS: Final = 60.0
# The factor after this worker has freed messages: they may be due anywhere.
FREED_PAUSE_FACTOR: Final = 2
# A message may be committed so long after the time that decides its turn, and clocks may differ.
LATE: Final = timedelta(seconds=2)
MAX_KNOWN: Final = 10_000
_HEAD_STARTS: Final = sorted(set(HEAD_START.values()) - {timedelta()}, reverse=True)


def compute_pause_seconds(look_seconds: float, factor: float = PAUSE_FACTOR) -> float:
    """Compute how long to wait after a look at whole queues that took so long."""
    return min(MAX_PAUSE_SECONDS, factor * look_seconds)


class DueRange(NamedTuple):
    """The due times from `lower` to `upper`, both included."""

    lower: datetime
    upper: datetime


class _Look(NamedTuple):
    """When a queue was last looked at; from `rest_at` on, some due messages were left."""

    at: datetime
    rest_at: datetime | None


class DueRanges:
    """Remembers the looks of one worker at queues that belong to no single destination."""

    def __init__(self, seconds: Callable[[], float] = monotonic_seconds) -> None:
        self._seconds = seconds
        self._is_full = True
        self._freed_at = -math.inf
        self._slow_seconds = 0.0
        self._last_seconds = 0.0  # of the last full poll
        self._began_at = -math.inf  # the last round
        self._full_began_at = -math.inf  # the last full poll
        self._full_at = -math.inf  # when it ended
        self._known_ids: set[str] = set()
        self._looks: dict[str, _Look] = {}

    def begin_round(
        self, now: datetime, *, ahead: timedelta
    ) -> Mapping[str, tuple[DueRange, ...]] | None:
        """Begin a round; return what its poll reads of each known profile, or None for all.

        The poll reads `ahead`, so that it sees what is due before the next one.
        """
        # A poll does not see what was freed while it ran.
        has_freed = self._freed_at >= self._full_began_at
        factor = FREED_PAUSE_FACTOR if has_freed else PAUSE_FACTOR
        self._began_at = self._seconds()
        pause_seconds = compute_pause_seconds(self._slow_seconds, factor)
        self._is_full = self._began_at - self._full_at >= pause_seconds
        if self._is_full:
            return None
        return {
            profile_id: tuple(self._build_ranges(profile_id, now, now + ahead))
            for profile_id in sorted(self._known_ids)
        }

    def note_poll(
        self, due_times: Mapping[str, datetime | None], now: datetime, *, seconds: float
    ) -> None:
        """Note when the next message of each profile is due, and how long the poll took."""
        if self._is_full:
            limit = SLOW_SECONDS + SLOW_SECONDS_PER_PROFILE * len(due_times)
            least_seconds, self._last_seconds = min(seconds, self._last_seconds), seconds
            self._slow_seconds = least_seconds if least_seconds > limit else 0.0
            self._full_began_at, self._full_at = self._began_at, self._seconds()
            if len(self._known_ids) > MAX_KNOWN:
                self._known_ids.clear()
        self._known_ids.update(due_times)
        if not self._slow_seconds:
            self._looks.clear()
            return
        for profile_id in self._known_ids:
            due_at = due_times.get(profile_id)
            if due_at is None or due_at > now:
                self._looks[profile_id] = _Look(now, None)
            elif self._is_full:
                self._looks[profile_id] = _Look(now, due_at)

    def list_to_claim(self, profile_id: str, now: datetime) -> tuple[DueRange, ...]:
        """Return what a claim reads; nothing means all that is due."""
        return () if self._is_full else tuple(self._build_ranges(profile_id, now, now))

    def note_claim(self, profile_id: str, now: datetime, *, rest_at: datetime | None) -> None:
        """Note a committed claim; from `rest_at` on, it may have left due messages."""
        if self._slow_seconds:
            self._looks[profile_id] = _Look(now, rest_at)

    def note_freed(self) -> None:
        """Note that this worker has freed messages, which may be due anywhere."""
        self._freed_at = self._seconds()

    def _build_ranges(self, profile_id: str, now: datetime, until: datetime) -> Iterator[DueRange]:
        look = self._looks.get(profile_id)
        if look is None:
            return iter((DueRange(EPOCH, until),))
        since = min(look.at, now) - LATE
        ranges = [DueRange(since - head_start, now - head_start) for head_start in _HEAD_STARTS]
        ranges.append(DueRange(since, until))
        if look.rest_at is not None:
            ranges.append(DueRange(min(look.rest_at, until), until))
        return _merge(sorted(ranges))


def _merge(ranges: Iterable[DueRange]) -> Iterator[DueRange]:
    """Yield sorted ranges, those that overlap as one."""
    merged: DueRange | None = None
    for due_range in ranges:
        if merged is None or due_range.lower > merged.upper:
            if merged is not None:
                yield merged
            merged = due_range
        else:
            merged = merged._replace(upper=max(merged.upper, due_range.upper))
    if merged is not None:
        yield merged
