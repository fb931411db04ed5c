"""The token bucket: limits delay and never fail a message (invariant 7)."""

from datetime import UTC, datetime, timedelta
from itertools import accumulate, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.profiles.schemas import RateLimit as RateLimitBody
from app.domain.delivery.token_bucket import Bucket, count_permits, next_permit_at, refill
from app.domain.types import RateLimit

NOW = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
HUNDRED_A_MINUTE = RateLimit(100, 60)


def after(seconds: float) -> datetime:
    """So long after NOW."""
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("bucket", "seconds", "expected"),
    [
        (None, 0, 100),
        (Bucket(0, NOW), 0, 0),
        (Bucket(0, NOW), 0.3, 0),
        (Bucket(0, NOW), 0.6, 1),
        (Bucket(0, NOW), 30, 50),
        (Bucket(0, NOW), 60, 100),
        (Bucket(0, NOW), 6000, 100),
        (Bucket(90, NOW), 60, 100),
        (Bucket(500, NOW), 0, 100),
        (Bucket(-0.5, NOW), 0, 0),
    ],
)
def test_permits_come_evenly_up_to_the_limit(
    bucket: Bucket | None, seconds: float, expected: int
) -> None:
    """A bucket that was never used is full, and none is fuller than its limit."""
    assert count_permits(refill(bucket, HUNDRED_A_MINUTE, after(seconds))) == expected


def test_a_clock_that_lags_gives_nothing_away() -> None:
    """Replicas differ by some seconds: the later one's time stands."""
    bucket = refill(Bucket(0, after(10)), HUNDRED_A_MINUTE, NOW)
    assert bucket == Bucket(0, after(10))
    assert count_permits(refill(bucket, HUNDRED_A_MINUTE, after(10))) == 0


@pytest.mark.parametrize(("tokens", "seconds"), [(0, 0.6), (0.5, 0.3), (1, 0), (7, 0), (-1, 1.2)])
def test_the_next_permit_is_foretold(tokens: float, seconds: float) -> None:
    """So that nobody has to look again and again."""
    assert next_permit_at(Bucket(tokens, NOW), HUNDRED_A_MINUTE) == after(seconds)


LIMITS = st.builds(RateLimit, st.integers(1, 1_000_000), st.integers(1, 86_400))


SLOW = LIMITS.filter(lambda limit: limit.messages <= limit.per_seconds)


@given(SLOW, st.floats(0, 0.999999))
def test_a_permit_is_there_at_the_time_of_the_next_one(limit: RateLimit, tokens: float) -> None:
    """Neither fractions nor the microseconds of a clock make a lane wait once more."""
    bucket = Bucket(tokens, NOW)
    assert count_permits(refill(bucket, limit, next_permit_at(bucket, limit))) >= 1


@given(LIMITS, st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_in_the_long_run_the_limit_holds(limit: RateLimit, waits: list[float]) -> None:
    """Taking all there is at each look: a full bucket, and what the time has brought."""
    bucket, now, permits = None, NOW, 0
    for wait in waits:
        now += timedelta(seconds=wait)
        refilled = refill(bucket, limit, now)
        permits += count_permits(refilled)
        bucket = Bucket(refilled.tokens - count_permits(refilled), refilled.at)
    earned = limit.messages * ((now - NOW).total_seconds() / limit.per_seconds)
    assert permits <= limit.messages + earned + 1


def spent(limit: RateLimit, moments: list[datetime]) -> list[int]:
    """How many go at each moment, where all go that may."""
    bucket, counts = None, []
    for moment in moments:
        refilled = refill(bucket, limit, moment)
        counts.append(count_permits(refilled))
        bucket = Bucket(refilled.tokens - count_permits(refilled), refilled.at)
    return counts


@given(st.builds(RateLimit, st.integers(1, 50), st.integers(1, 120)), st.lists(st.floats(0, 200)))
def test_no_stretch_of_time_sees_more_than_a_full_bucket_and_what_it_earned(
    limit: RateLimit, waits: list[float]
) -> None:
    """Not the first one alone, but any."""
    moments = [after(seconds) for seconds in accumulate(waits)]
    counts = spent(limit, moments)
    for start, end in combinations(range(len(moments)), 2):
        periods = (moments[end] - moments[start]).total_seconds() / limit.per_seconds
        assert sum(counts[start : end + 1]) <= limit.messages * (1 + periods) + 1e-3


def test_a_period_sees_up_to_twice_as_many_and_the_documents_say_so() -> None:
    """After a pause: the whole bucket, and what comes meanwhile."""
    counts = spent(HUNDRED_A_MINUTE, [after(seconds) for seconds in (0, 30, 59.9)])
    assert sum(counts) == 199
    for document in (RateLimit.__doc__, RateLimitBody.__doc__):
        assert "single period can exceed the limit by up to `burst`" in " ".join(
            str(document).split()
        )
