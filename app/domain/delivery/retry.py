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
    """Delays grow from `first` by `factor` up to `cap`."""

    first: timedelta
    factor: float
    cap: timedelta

    def ceiling(self, failures: int) -> timedelta:
        """The longest wait after so many failures (1 or more)."""
        try:
            return min(self.cap, self.first * self.factor ** (failures - 1))
        except OverflowError:
            return self.cap

    def delay(self, failures: int, random: Random) -> timedelta:
        """A wait drawn evenly from nothing to the ceiling: many that failed at once come apart."""
        return self.ceiling(failures) * random()

    def delay_at_least_half(self, failures: int, random: Random) -> timedelta:
        """A wait drawn from the upper half: for the one prober, who must not hammer."""
        return self.ceiling(failures) * (0.5 + random() / 2)


def retry_delay(
    policy: RetryPolicy, failures: int, random: Random, *, is_greylisted: bool
) -> timedelta:
    """How long a recipient waits after so many failures (1 or more).

    Greylisting servers take the same mail some minutes later (RFC 6647 section 5): to come sooner
    is in vain, to come much later keeps the mail waiting for nothing.
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
