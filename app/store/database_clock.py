"""The database's time: what replicas agree on, however far off a machine's own clock is."""

import asyncio
from datetime import datetime, timedelta

from sqlalchemy import text

from app.domain.clock import Clock, SystemClock
from app.store.database import Database


class DatabaseClock:
    """The machine's clock, set right by PostgreSQL's as often as it is measured.

    Due times and leases are compared over all replicas, so all must read one clock (invariant 3).
    On SQLite every process has the file's machine, and its clock, in common: nothing is set right.
    """

    def __init__(self, database: Database, base: Clock | None = None) -> None:
        self._database = database
        self._base = base or SystemClock()
        self._offset = timedelta(0)

    def now(self) -> datetime:
        return self._base.now() + self._offset

    async def wait(self, event: asyncio.Event, until: datetime) -> None:
        await self._base.wait(event, until - self._offset)

    async def measure(self) -> None:
        """Look at the database's clock; raises Unavailable, and changes nothing, if it is away.

        An offset that the answer's own time on the way explains as well is kept: else each
        measurement would make the time jump by a part of a round trip.
        """
        if not self._database.is_postgresql:
            return
        async with self._database.reading() as connection:
            await connection.execute(text("SELECT 1"))  # it connects and begins before it asks
            before = self._base.now()
            there: datetime = (
                await connection.execute(text("SELECT clock_timestamp()"))
            ).scalar_one()
            after = self._base.now()
        if not there - after <= self._offset <= there - before:
            self._offset = there - before - (after - before) / 2
