"""Measure the database's clock, on which all replicas agree."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, bindparam, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from app.domain.clock import Clock, SteadyClock, SystemClock
from app.store.db.column_types import Instant
from app.store.db.engine import Database


class DatabaseClock:
    """A steady clock, set by the database's as often as it is measured.

    Due times and leases are compared over all replicas, so all must read one clock (invariant 3):
    PostgreSQL's, and on SQLite the one of the machine, which every process of a file shares. In
    between time goes on by `base`: a step of a machine's wall clock moves no time of Heloise's.
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
        """Look at the database's clock; raises Unavailable, and changes nothing, if it is away.

        An offset that the answer's own time on the way explains as well is kept: else each
        measurement would make the time jump by a part of a round trip.
        """
        before, database_now, after = await self._ask()
        if not database_now - after <= self._offset <= database_now - before:
            self._offset = database_now - before - (after - before) / 2

    async def _ask(self) -> tuple[datetime, datetime, datetime]:
        """The database's time, between the base's before and after it was asked."""
        if not self._database.is_postgresql:
            return self._base.now(), self._wall.now(), self._base.now()
        async with self._database.reading() as connection:
            await connection.execute(text("SELECT 1"))  # it connects and begins before it asks
            before = self._base.now()
            database_now: datetime = (
                await connection.execute(text("SELECT clock_timestamp()"))
            ).scalar_one()
            return before, database_now, self._base.now()


class _NotAfterNow(FunctionElement[datetime]):
    """A moment, or the database's own time where that is earlier.

    SQLite has no time but the machine's, and one worker, which nobody else's clock misleads.
    """

    type = Instant()
    inherit_cache = True


@compiles(_NotAfterNow)
def _in_sqlite(element: _NotAfterNow, compiler: SQLCompiler, **named: Any) -> str:  # noqa: ANN401 - as SQLAlchemy has it
    return compiler.process(element.clauses, **named)


@compiles(_NotAfterNow, "postgresql")
def _in_postgresql(element: _NotAfterNow, compiler: SQLCompiler, **named: Any) -> str:  # noqa: ANN401 - as above
    # Not clock_timestamp(): a volatile function is no condition of an index.
    return f"least({compiler.process(element.clauses, **named)}, statement_timestamp())"


def bind_now(*, is_clock_checked: bool) -> ColumnElement[datetime]:
    """The parameter `now` of a statement; with `is_checked`, never past the database's own time.

    So a worker whose time is wrong for any reason takes nothing before it is due.
    """
    now = bindparam("now", type_=Instant())
    return _NotAfterNow(now) if is_clock_checked else now
