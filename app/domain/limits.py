"""The token bucket behind a rate limit, as arithmetic (invariant 7: limits wait)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.types import RateLimit


@dataclass(frozen=True, slots=True)
class Bucket:
    """Permits left, as of a moment. May be a fraction."""

    tokens: float
    at: datetime


def refill(bucket: Bucket | None, limit: RateLimit, now: datetime) -> Bucket:
    """The bucket as it stands now; one never used, or of a raised limit, is filled to the limit."""
    if bucket is None:
        return Bucket(float(limit.messages), now)
    elapsed = max(timedelta(), now - bucket.at) / timedelta(seconds=limit.per_seconds)
    return Bucket(min(float(limit.messages), bucket.tokens + elapsed * limit.messages), now)


def permits(bucket: Bucket) -> int:
    """How many messages may go at once."""
    return int(bucket.tokens)


def next_permit_at(bucket: Bucket, limit: RateLimit) -> datetime:
    """When there will be a whole permit."""
    missing = max(0.0, 1.0 - bucket.tokens)
    return bucket.at + timedelta(seconds=limit.per_seconds) * (missing / limit.messages)
