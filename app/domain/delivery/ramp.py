"""Compute the allowance of a ramp: a limit per period that grows (invariant 7: limits wait)."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from app.domain.delivery.token_bucket import ROUNDING, Bucket, count_permits
from app.domain.types import Ramp, RampPeriod

PERIODS: Final[Mapping[RampPeriod, timedelta]] = {
    RampPeriod.HOUR: timedelta(hours=1),
    RampPeriod.DAY: timedelta(days=1),
    RampPeriod.WEEK: timedelta(weeks=1),
}


def compute_allowance(ramp: Ramp, now: datetime) -> int:
    """Return how many recipients the current period allows."""
    try:
        allowance = ramp.start * ramp.factor ** _count_periods(ramp, now)
    except OverflowError:
        return ramp.until
    return min(ramp.until, int(allowance + ROUNDING))


def refill(bucket: Bucket | None, ramp: Ramp, now: datetime) -> Bucket:
    """Return the bucket as of now: full in a new period, else unchanged.

    A bucket from before the ramp was set belongs to no period, so it is full too.
    """
    if bucket is None or _count_periods(ramp, bucket.at) < _count_periods(ramp, now):
        return Bucket(float(compute_allowance(ramp, now)), now)
    if bucket.at < ramp.started_at:
        return Bucket(float(compute_allowance(ramp, now)), now)
    return Bucket(min(bucket.tokens, float(ramp.until)), max(bucket.at, now))


def next_permit_at(bucket: Bucket, ramp: Ramp) -> datetime:
    """Return when the next permit is available: at once, or when the next period begins."""
    if count_permits(bucket):
        return bucket.at
    return ramp.started_at + (_count_periods(ramp, bucket.at) + 1) * PERIODS[ramp.every]


def _count_periods(ramp: Ramp, moment: datetime) -> int:
    """Count the periods that have ended since the ramp was set."""
    return max(0, (moment - ramp.started_at) // PERIODS[ramp.every])
