"""The ramp: a limit that grows each period, and waits at its top."""

from datetime import UTC, datetime, timedelta

import pytest

from app.domain.delivery.ramp import compute_allowance, next_permit_at, refill
from app.domain.delivery.token_bucket import Bucket
from app.domain.types import Ramp, RampPeriod

NOW = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)
RAMP = Ramp(start=50, factor=1.5, every=RampPeriod.DAY, until=5000, started_at=NOW)


@pytest.mark.parametrize(
    ("days", "allowance"),
    [(-1, 50), (0, 50), (0.99, 50), (1, 75), (2, 112), (3, 168), (11, 4324), (99_999, 5000)],
)
def test_each_period_allows_more_until_the_end(days: float, allowance: int) -> None:
    """The limit stays at its end, however long that is ago."""
    assert compute_allowance(RAMP, NOW + days * DAY) == allowance


def test_a_new_period_brings_its_whole_allowance() -> None:
    """Nothing is left over from the period before, and nothing comes in between."""
    first = refill(None, RAMP, NOW)
    assert first == Bucket(50, NOW)
    spent = Bucket(3, NOW)
    assert refill(spent, RAMP, NOW + 0.9 * DAY).tokens == 3
    assert refill(spent, RAMP, NOW + DAY) == Bucket(75, NOW + DAY)


def test_a_clock_that_is_behind_brings_nothing() -> None:
    """A replica whose clock lags a period neither adds nor removes permits."""
    later = Bucket(3, NOW + DAY)
    assert refill(later, RAMP, NOW) == later


def test_a_bucket_from_before_the_ramp_is_full() -> None:
    """The ramp was set again: its clock starts anew."""
    assert refill(Bucket(0, NOW - timedelta(hours=1)), RAMP, NOW) == Bucket(50, NOW)


def test_the_next_permit_comes_with_the_next_period() -> None:
    """Or is there already."""
    assert next_permit_at(Bucket(1, NOW), RAMP) == NOW
    assert next_permit_at(Bucket(0, NOW + 1.5 * DAY), RAMP) == NOW + 2 * DAY
