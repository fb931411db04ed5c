"""Read the gauges of the database's health, at most once a minute."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.clock import monotonic_seconds
from app.domain.errors import Unavailable
from app.metrics import definitions as gauges
from app.metrics.database_gauges import READ_SECONDS, Values, age_seconds
from app.store.db.database import Database
from app.store.db.errors import CONNECTION_REFUSED
from app.store.delivery.service_state import load_oldest_purge
from app.store.health.postgresql import PostgresqlHealth, load_postgresql_health
from app.store.health.sqlite import load_sqlite_health

# These change slowly, and the size of a table costs a system call for each of its files.
CACHE_SECONDS: Final = 60.0


class HealthGauges:
    """The last reading of the gauges; a failed one has none, and counts for a minute too."""

    def __init__(
        self, database: Database, monotonic: Callable[[], float] = monotonic_seconds
    ) -> None:
        self._database = database
        self._monotonic = monotonic
        self._values: Values = {}
        self._read_at_seconds: float | None = None

    async def load(self, now: datetime) -> Values:
        """Return the gauges, read again after a minute; another caller gets the former ones."""
        started_seconds = self._monotonic()
        if (
            self._read_at_seconds is None
            or started_seconds - self._read_at_seconds >= CACHE_SECONDS
        ):
            self._read_at_seconds = started_seconds
            self._values = await self._read(now)
        return self._values

    async def _read(self, now: datetime) -> Values:
        try:
            async with (
                asyncio.timeout(READ_SECONDS),
                self._database.reading(is_analytic=True) as connection,
            ):
                values = await self._read_database(connection)
                purged_at = await load_oldest_purge(connection)
        # /readyz says what is wrong.
        except (Unavailable, TimeoutError, SQLAlchemyError, *CONNECTION_REFUSED):
            return {}
        return values | {gauges.OLDEST_PURGE: {(): age_seconds(purged_at, now)}}

    async def _read_database(self, connection: AsyncConnection) -> Values:
        if (path := self._database.file_path) is not None:
            health = await load_sqlite_health(connection, path)
            is_durable = float(health.is_durable)
            return {gauges.DURABLE: {(): is_durable}, gauges.WAL_SIZE: {(): health.wal_bytes}}
        return _of_postgresql(await load_postgresql_health(connection))


def _of_postgresql(health: PostgresqlHealth) -> Values:
    used = sum(slot.is_active for slot in health.slots)
    values: Values = {
        gauges.DURABLE: {(): float(health.is_durable)},
        gauges.SERVER_CONNECTIONS: {(): health.connections.used},
        gauges.SERVER_CONNECTIONS_LIMIT: {(): health.connections.limit},
        gauges.REPLICATION_SLOTS: {("used",): used, ("unused",): len(health.slots) - used},
        gauges.RETAINED_WAL: {(): max((slot.retained_bytes for slot in health.slots), default=0)},
        **_of_tables(health),
    }
    if health.wal_bytes is not None:
        values[gauges.WAL_SIZE] = {(): health.wal_bytes}
    if not health.hidden_sessions:  # one of them may be the oldest
        oldest = health.oldest_transaction
        values[gauges.OLDEST_TRANSACTION] = {(): 0.0 if oldest is None else oldest.age_seconds}
    return values


def _of_tables(health: PostgresqlHealth) -> Values:
    """Add up the partitions of each table."""
    sizes, live, dead = dict[str, float](), dict[str, float](), dict[str, float]()
    for table in health.tables:
        sizes[table.name] = sizes.get(table.name, 0) + table.size_bytes
        live[table.name] = live.get(table.name, 0) + table.live_rows
        dead[table.name] = dead.get(table.name, 0) + table.dead_rows
    return {
        gauge: {(name,): value for name, value in numbers.items()}
        for gauge, numbers in (
            (gauges.TABLE_SIZE, sizes),
            (gauges.LIVE_ROWS, live),
            (gauges.DEAD_ROWS, dead),
        )
    }
