"""Measure the database's clock, which all replicas share."""

import asyncio
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, bindparam, text

from app.domain.clock import Clock, SteadyClock, SystemClock
from app.store.db.column_types import Instant
from app.store.db.database import Database
from app.store.db.expressions import DialectExpression


class DatabaseClock:
    """A steady clock, set to the database's clock at each measurement.

    All replicas compare due times and leases, so they need one clock (invariant 3): PostgreSQL's,
    or the machine's on SQLite, which all processes of a file share. Between measurements time
    advances with `base`, so a step of the wall clock has no effect.
    """

    def __init__(
        self, database: Database, base: Clock | None = None, *, wall: Clock | None = None
    ) -> None:
        self._database = database
        self._base = base or SteadyClock()
        self._wall = wall or SystemClock()
        self._offset = timedelta(0)

    def now(self) -> datetime:
        return self._base.now() + self._offset

    async def wait(self, event: asyncio.Event, until: datetime) -> None:
        await self._base.wait(event, until - self._offset)

    async def measure(self) -> None:
        """Adjust to the database's clock; raise Unavailable and change nothing if it is away.

        Keeps an offset that lies within the round trip's uncertainty: otherwise each measurement
        would make the time jump by part of a round trip.
        """
        before, database_now, after = await self._ask()
        if not database_now - after <= self._offset <= database_now - before:
            self._offset = database_now - before - (after - before) / 2

    async def _ask(self) -> tuple[datetime, datetime, datetime]:
        """Return the database's time between two readings of the base clock."""
        if not self._database.is_postgresql:
            return self._base.now(), self._wall.now(), self._base.now()
        async with self._database.reading() as connection:
            await connection.execute(text("SELECT 1"))  # connect and begin before the measurement
            before = self._base.now()
            database_now: datetime = (
                await connection.execute(text("SELECT clock_timestamp()"))
            ).scalar_one()
            return before, database_now, self._base.now()


class _NotAfterNow(DialectExpression[datetime]):
    """A time, or the database's current time if that is earlier.

    On SQLite, which has only the machine's clock and one worker, the time as it is.
    """

    type = Instant()
    inherit_cache = True
    sqlite = "{0}"
    # clock_timestamp() is volatile, so no index could be used.
    postgresql = "least({0}, statement_timestamp())"


def bind_now(*, is_clock_checked: bool) -> ColumnElement[datetime]:
    """Build the parameter `now`, which `is_clock_checked` caps at the database's time.

    So a worker with a wrong clock takes nothing before it is due.
    """
    now = bindparam("now", type_=Instant())
    return _NotAfterNow(now) if is_clock_checked else now
