"""Time as an argument: wall time for records, monotonic time for durations."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final, Protocol


class Clock(Protocol):
    """What the engine and the API read time from; tests give one that they move by hand."""

    def now(self) -> datetime:
        """Aware UTC wall time, for records and due times."""
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


def rfc3339(moment: datetime) -> str:
    """An aware UTC time as RFC 3339 has it, to the microsecond."""
    return moment.isoformat().replace("+00:00", "Z")


# A reading for durations only: two readings subtract, one alone says nothing.
monotonic_seconds: Final = time.monotonic
