"""Read the gauges of the whole installation from the database."""

import asyncio
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from app import __version__
from app.domain.clock import monotonic_seconds
from app.domain.delivery.status import OPEN_STATUSES
from app.domain.errors import Unavailable
from app.domain.types import ProfileState
from app.metrics import definitions as gauges
from app.metrics.grouping import Grouping
from app.metrics.series import Gauge, Labels
from app.store.db.database import Database, load_size_bytes
from app.store.db.errors import CONNECTION_REFUSED
from app.store.delivery import gauges as queries

# A scrape must not hang while the database does not answer.
READ_SECONDS: Final = 5.0
_TRIVIAL: Final = text("SELECT 1")

Values = dict[Gauge, Mapping[Labels, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Reads the gauges that are the same in every process.

    A worker counts as alive for `lease` after its last heartbeat.
    """

    database: Database
    grouping: Grouping
    lease: timedelta

    async def load(self, now: datetime) -> Values:
        """Load the gauges; without the database, only that it is away."""
        kind = "postgresql" if self.database.is_postgresql else "sqlite"
        values: Values = {
            gauges.BUILD_INFO: {(__version__, platform.python_version(), kind): 1},
            **self._measure_disk(),
        }
        try:
            async with asyncio.timeout(READ_SECONDS):
                started_seconds = monotonic_seconds()
                async with self.database.reading() as connection:
                    await connection.execute(_TRIVIAL)
                    values[gauges.DATABASE_RESPONSE] = {(): monotonic_seconds() - started_seconds}
                    values[gauges.DATABASE_UP] = {(): 1}
                    await self._load_all(connection, now, values)
        except TimeoutError:  # perhaps only the counts take long, as beside an old transaction
            values.setdefault(gauges.DATABASE_UP, {(): 0})
        except (Unavailable, *CONNECTION_REFUSED):
            values[gauges.DATABASE_UP] = {(): 0}
        except SQLAlchemyError:  # the schema is not at head; /readyz says so
            pass
        return values

    def _measure_disk(self) -> Values:
        if (path := self.database.file_path) is None:
            return {}
        usage = shutil.disk_usage(path.parent)
        return {gauges.DISK_SIZE: {(): usage.total}, gauges.DISK_FREE: {(): usage.free}}

    async def _load_all(self, connection: AsyncConnection, now: datetime, values: Values) -> None:
        size_bytes = await load_size_bytes(connection)
        values[gauges.DATABASE_SIZE] = {(): size_bytes}
        values.update(await self._load_messages(connection, now))
        values[gauges.PROFILES] = await self._count_profiles(connection)
        since = now - self.lease
        values[gauges.WORKERS] = {(): await queries.count_workers(connection, since=since)}
        backlog = await queries.load_webhook_backlog(connection)
        values[gauges.WEBHOOK_BACKLOG] = {(): backlog.count}
        values[gauges.WEBHOOK_LAG] = {(): age_seconds(backlog.oldest_at, now)}

    async def _load_messages(self, connection: AsyncConnection, now: datetime) -> Values:
        depths = await queries.load_queue_depths(
            connection, now=now, by_profile=bool(self.grouping.labels)
        )
        counts: dict[Labels, float] = {}
        ages: dict[Labels, float] = {}
        if not self.grouping.labels:  # a status without messages is 0
            counts = {(status.value,): 0.0 for status in OPEN_STATUSES}
            ages = counts.copy()
        for depth in depths:
            group = self.grouping.find(depth.tenant_id, depth.profile_id)
            labels = (depth.status.value, *group)
            counts[labels] = counts.get(labels, 0) + depth.count
            ages[labels] = max(ages.get(labels, 0), age_seconds(depth.oldest_at, now))
        return {gauges.MESSAGES: counts, gauges.OLDEST_MESSAGE: ages}

    async def _count_profiles(self, connection: AsyncConnection) -> Mapping[Labels, float]:
        counts: dict[Labels, float] = {}
        if not self.grouping.labels:
            counts = {(state.value,): 0.0 for state in ProfileState}
        for row in await queries.count_profile_states(
            connection, by_profile=bool(self.grouping.labels)
        ):
            labels = (row.state.value, *self.grouping.find(row.tenant_id, row.profile_id))
            counts[labels] = counts.get(labels, 0) + row.count
        return counts


def age_seconds(moment: datetime | None, now: datetime) -> float:
    """Return how long ago a moment was; 0 without one."""
    return 0.0 if moment is None else max(0.0, (now - moment).total_seconds())
