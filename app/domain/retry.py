"""When to try again: exponential back-off with full jitter, as pure functions."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

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


RECIPIENT: Final = Backoff(first=timedelta(minutes=1), factor=2, cap=timedelta(hours=4))
PROBE: Final = Backoff(first=timedelta(seconds=5), factor=2, cap=timedelta(minutes=5))
