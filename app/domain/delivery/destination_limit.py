"""Count what a destination may still get: its rate limit and its ramp together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from app.domain.delivery import ramp as ramps
from app.domain.delivery import token_bucket
from app.domain.delivery.destinations import NO_DESTINATION
from app.domain.delivery.token_bucket import Bucket, count_permits
from app.domain.types import Destination, Ramp, RateLimit

ANY_NUMBER: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationLimit:
    """The limits of a destination, and what is left of them.

    A limit without a bucket is untouched. The number 0 counts for the whole profile.
    """

    number: int
    rate_limit: RateLimit | None = None
    ramp: Ramp | None = None
    rate_bucket: Bucket | None = None
    ramp_bucket: Bucket | None = None

    def refill(self, now: datetime) -> "DestinationLimit":
        """Return the limits as of now."""
        rate, ramp = self.rate_limit, self.ramp
        return replace(
            self,
            rate_bucket=None if rate is None else token_bucket.refill(self.rate_bucket, rate, now),
            ramp_bucket=None if ramp is None else ramps.refill(self.ramp_bucket, ramp, now),
        )

    def count_messages(self) -> int:
        """Return how many messages may leave now."""
        is_counted = self.rate_limit is not None and self.rate_limit.recipients is None
        return count_permits(self.rate_bucket) if self.rate_bucket and is_counted else ANY_NUMBER

    def count_recipients(self) -> int:
        """Return how many recipients may get a message now."""
        counts = [ANY_NUMBER]
        if self.rate_bucket and self.rate_limit and self.rate_limit.recipients is not None:
            counts.append(count_permits(self.rate_bucket))
        if self.ramp_bucket is not None:
            counts.append(count_permits(self.ramp_bucket))
        return min(counts)

    def spend(self, *, messages: int, recipients: int) -> "DestinationLimit":
        """Return the limits after messages with so many recipients together."""
        rate_cost = recipients if self.rate_limit and self.rate_limit.recipients else messages
        return replace(
            self,
            rate_bucket=_spend(self.rate_bucket, rate_cost),
            ramp_bucket=_spend(self.ramp_bucket, recipients),
        )

    def next_permit_at(self, now: datetime) -> datetime:
        """Return when the next recipient may get a message; now, if at once."""
        return max([now, *self._permits_at()])

    def _permits_at(self) -> Iterator[datetime]:
        if self.rate_limit is not None and self.rate_bucket is not None:
            yield token_bucket.next_permit_at(self.rate_bucket, self.rate_limit)
        if self.ramp is not None and self.ramp_bucket is not None:
            yield ramps.next_permit_at(self.ramp_bucket, self.ramp)


def _spend(bucket: Bucket | None, permits: int) -> Bucket | None:
    return bucket and Bucket(bucket.tokens - permits, bucket.at)


def list_limits(
    ramp: Ramp | None, destinations: Sequence[Destination]
) -> dict[int, DestinationLimit]:
    """Return the untouched limits of a profile and of its destinations, by number."""
    return {NO_DESTINATION: DestinationLimit(number=NO_DESTINATION, ramp=ramp)} | {
        destination.number: DestinationLimit(
            number=destination.number, rate_limit=destination.rate_limit, ramp=destination.ramp
        )
        for destination in destinations
    }
