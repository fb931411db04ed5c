"""Compute token buckets for rate limits (invariant 7: limits wait)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.domain.types import RateLimit

# What sums of fractions lose: a permit that is due is there, not a hair less of it.
ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Bucket:
    """Permits left, as of a moment. May be a fraction."""

    tokens: float
    at: datetime


def refill(bucket: Bucket | None, limit: RateLimit, now: datetime) -> Bucket:
    """The bucket as it stands now; one never used is full, one of a lowered limit no fuller.

    Time runs forward only: a replica whose clock lags neither adds nor takes permits.
    """
    if bucket is None:
        return Bucket(float(limit.capacity), now)
    elapsed = max(timedelta(), now - bucket.at) / timedelta(seconds=limit.per_seconds)
    return Bucket(
        min(float(limit.capacity), bucket.tokens + elapsed * limit.amount), max(bucket.at, now)
    )


def count_permits(bucket: Bucket) -> int:
    """How many permits may be spent at once.

    A message is begun where there is one; what it takes beyond the bucket is owed (`Bucket.tokens`
    below zero) and delays those behind it, so that no message is too large to go.
    """
    return max(0, int(bucket.tokens + ROUNDING))


def next_permit_at(bucket: Bucket, limit: RateLimit) -> datetime:
    """When there will be a whole permit."""
    missing = max(0.0, 1.0 - bucket.tokens)
    return bucket.at + timedelta(seconds=limit.per_seconds) * (missing / limit.amount)
