"""Keep token buckets by key in a bounded LRU cache."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.domain.clock import monotonic_seconds

MAX_BUCKETS: Final = 10_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimiter:
    """Token buckets by key. A bucket starts full and refills evenly."""

    def __init__(self, *, monotonic: Callable[[], float] = monotonic_seconds) -> None:
        self._monotonic = monotonic
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_seconds(self, key: str, *, capacity: int, per_second: float) -> float:
        """Return the seconds until a whole token is available; 0 if one is."""
        tokens = self._refill(key, capacity, per_second).tokens
        return max(0.0, (1 - tokens) / per_second)

    def take(self, key: str, *, capacity: int, per_second: float) -> float:
        """Take a token if one is available; returns the seconds until then, or 0."""
        bucket = self._refill(key, capacity, per_second)
        wait_seconds = max(0.0, (1 - bucket.tokens) / per_second)
        if not wait_seconds:
            bucket.tokens -= 1
        return wait_seconds

    def _refill(self, key: str, capacity: int, per_second: float) -> _Bucket:
        now = self._monotonic()
        bucket = self._buckets.get(key) or _Bucket(float(capacity), now)
        bucket.tokens = min(float(capacity), bucket.tokens + (now - bucket.at) * per_second)
        bucket.at = now
        self._buckets[key] = bucket
        self._buckets.move_to_end(key)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return bucket
