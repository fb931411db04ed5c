"""Time as an argument: wall time for records, monotonic time for durations."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol


class Clock(Protocol):
    """The time source of delivery and API; tests use one that they advance."""

    def now(self) -> datetime:
        """Return aware UTC wall time, for records and due times."""
        ...

    async def wait(self, event: asyncio.Event, until: datetime) -> None:
        """Return when `event` is set or when `now()` has reached `until`."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def wait(self, event: asyncio.Event, until: datetime) -> None:
        seconds = (until - self.now()).total_seconds()
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await event.wait()
        except TimeoutError:
            return


# CLOCK_MONOTONIC excludes the time that the machine was suspended: after ten minutes of sleep a
# worker would still claim leases that others have taken over.
_UPTIME: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime_seconds() -> float:
    """Return the seconds since the machine started, with those of suspension."""
    return time.clock_gettime(_UPTIME)


class SteadyClock(SystemClock):
    """The machine's time at creation, plus the time elapsed since.

    It advances steadily even if someone, or NTP, sets the machine's clock.
    """

    def __init__(self, uptime_seconds: Callable[[], float] = uptime_seconds) -> None:
        self._uptime_seconds = uptime_seconds
        self._start = super().now() - timedelta(seconds=uptime_seconds())

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._uptime_seconds())


def format_rfc3339(moment: datetime) -> str:
    """Format an aware UTC time as RFC 3339, to the microsecond."""
    return moment.isoformat().replace("+00:00", "Z")


# For durations only: subtract two readings.
monotonic_seconds: Final = time.monotonic
