"""Compute token buckets for rate limits (invariant 7: limits wait)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.domain.types import RateLimit

# Tolerates rounding errors of sums, so that a due permit is available.
ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Bucket:
    """Permits left at a moment; may be a fraction."""

    tokens: float
    at: datetime


def refill(bucket: Bucket | None, limit: RateLimit, now: datetime) -> Bucket:
    """Return the bucket as of now; a new one is full.

    Time runs forward only: a replica whose clock lags neither adds nor removes permits. A lowered
    limit caps the bucket.
    """
    if bucket is None:
        return Bucket(float(limit.capacity), now)
    elapsed = max(timedelta(), now - bucket.at) / timedelta(seconds=limit.per_seconds)
    return Bucket(
        min(float(limit.capacity), bucket.tokens + elapsed * limit.amount), max(bucket.at, now)
    )


def count_permits(bucket: Bucket) -> int:
    """Return how many permits may be spent at once.

    A message needs one permit to start; costs beyond the bucket make `Bucket.tokens` negative and
    delay later messages. So no message is too large to send.
    """
    return max(0, int(bucket.tokens + ROUNDING))


def next_permit_at(bucket: Bucket, limit: RateLimit) -> datetime:
    """Return when the next whole permit is available."""
    missing = max(0.0, 1.0 - bucket.tokens)
    return bucket.at + timedelta(seconds=limit.per_seconds) * (missing / limit.amount)
