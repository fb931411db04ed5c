"""Compute retry times: exponential back-off with full jitter."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from app.domain.types import RetryPolicy

Random = Callable[[], float]
"""Gives a float in [0, 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delays that grow from `first` by `factor` up to `cap`."""

    first: timedelta
    factor: float
    cap: timedelta

    def ceiling(self, failures: int) -> timedelta:
        """Return the longest delay after this many failures (1 or more)."""
        try:
            return min(self.cap, self.first * self.factor ** (failures - 1))
        except OverflowError:
            return self.cap

    def delay(self, failures: int, random: Random) -> timedelta:
        """Draw a delay between zero and the ceiling, to spread simultaneous failures."""
        return self.ceiling(failures) * random()

    def delay_at_least_half(self, failures: int, random: Random) -> timedelta:
        """Draw a delay from the upper half, for a lane's single probe."""
        return self.ceiling(failures) * (0.5 + random() / 2)


def retry_delay(
    policy: RetryPolicy, failures: int, random: Random, *, is_greylisted: bool
) -> timedelta:
    """Compute the delay of a recipient after this many failures (1 or more).

    Greylisting servers accept the same mail some minutes later (RFC 6647 section 5): an earlier
    retry fails, a much later one delays the mail needlessly.
    """
    if is_greylisted and failures <= GREYLIST_TRIES:
        return GREYLIST.delay_at_least_half(failures, random)
    backoff = Backoff(
        first=timedelta(seconds=policy.first_seconds),
        factor=policy.factor,
        cap=timedelta(seconds=policy.cap_seconds),
    )
    return backoff.delay(failures, random)


GREYLIST: Final = Backoff(first=timedelta(minutes=6), factor=1, cap=timedelta(minutes=6))
GREYLIST_TRIES: Final = 4
PROBE: Final = Backoff(first=timedelta(seconds=5), factor=2, cap=timedelta(minutes=5))
