"""Maintain a worker: renew leases, send heartbeats, expire messages."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from app.delivery.leases import Leases
from app.domain.clock import Clock
from app.domain.tenants.retention import Retention
from app.store import audit, idempotency
from app.store import retention as purging
from app.store.db.engine import Database
from app.store.delivery import clamping, permits, workers
from app.store.inbound import reports
from app.store.outbox import queries as outbox
from app.store.outbox import results as outcomes

log = logging.getLogger(__name__)

RENEWALS_PER_LEASE: Final = 3
ENDED_AT_ONCE: Final = 500
KEYS_KEPT: Final = timedelta(hours=24)
REPORTS_KEPT: Final = timedelta(days=30)
# Small, so that nobody waits for long who is about the same messages.
PURGED_AT_ONCE: Final = 100
PURGE_EVERY: Final = timedelta(hours=1)
STEP: Final = timedelta(seconds=1)
CLAMP_EVERY: Final = timedelta(minutes=10)
LOOK_FOR_OLD_EVERY: Final = timedelta(minutes=1)
FORGOTTEN_AFTER_LEASES: Final = 2

# Sets the clock right; raises Unavailable where that cannot be done now.
Measure = Callable[[], Awaitable[None]]


class Upkeep:
    """A worker's periodic jobs; each waits for its own interval."""

    def __init__(
        self,
        database: Database,
        *,
        leases: Leases,
        clock: Clock,
        machine: str,
        sweep_interval: timedelta,
        transcript_retention: timedelta,
        audit_retention: timedelta,
        retention: Retention,
        measure: Measure | None = None,
    ) -> None:
        self._database = database
        self._leases = leases
        self._clock = clock
        self._machine = machine
        self._sweep_interval = sweep_interval
        self._transcript_retention = transcript_retention
        self._audit_retention = audit_retention
        self._retention = retention
        self._started_at: datetime | None = None
        self._measure = measure
        self._never = asyncio.Event()
        self._was_ahead = asyncio.Event()

    async def renew(self) -> None:
        """Set the clock right, lengthen the leases and write the heartbeat."""
        await self._set_clock()
        if lost := await self._leases.renew():
            log.warning("another worker took over %d messages", len(lost))
        now = self._clock.now()
        self._started_at = self._started_at or now
        async with self._database.transaction() as connection:
            await workers.beat(
                connection,
                worker_id=self._leases.owner,
                hostname=self._machine,
                pid=os.getpid(),
                started_at=self._started_at,
                now=now,
            )
            await permits.renew_connections(
                connection, worker_id=self._leases.owner, until=now + self._leases.length
            )
            await workers.forget(connection, before=now - self._forgotten_after)
        await self._pause_until(now + self._leases.length / RENEWALS_PER_LEASE)

    async def _set_clock(self) -> None:
        if self._measure is None:
            return
        before = self._clock.now()
        await self._measure()
        if self._clock.now() < before - STEP:  # what was planned by it is planned too late
            self._was_ahead.set()

    @property
    def _forgotten_after(self) -> timedelta:
        return FORGOTTEN_AFTER_LEASES * self._leases.length

    async def sweep(self) -> None:
        """End what is past its time, and what a deleted profile left."""
        now, ended = self._clock.now(), 0
        async with self._database.reading() as connection:
            is_any = await outcomes.is_any_over(connection, now=now)
        if is_any:
            async with self._database.transaction() as connection:
                for end in (outcomes.expire, outcomes.cancel_orphans):
                    ended += await end(
                        connection,
                        now=now,
                        limit=ENDED_AT_ONCE,
                        is_checked=self._measure is not None,
                    )
        if ended < ENDED_AT_ONCE:
            await self._pause_until(now + self._sweep_interval)

    async def clamp(self) -> None:
        """Bring back what a clock that was ahead has planned: at the start, and once it is right.

        By a clock that is behind, all that is planned would lie ahead: it is set first.
        """
        await self._set_clock()
        self._was_ahead.clear()
        now = self._clock.now()
        async with self._database.transaction() as connection:
            clamped = await clamping.clamp(connection, now=now, lease=self._leases.length)
        if clamped:
            log.warning("clamped %d times beyond any schedule: a clock was wrong", clamped)
        await self._clock.wait(self._was_ahead, now + CLAMP_EVERY)

    async def forget(self) -> None:
        """Forget what was kept for a time, and is of no tenant's own retention."""
        now = self._clock.now()
        async with self._database.transaction() as connection:
            forgotten = [
                await outcomes.forget_transcripts(
                    connection, before=now - self._transcript_retention, limit=ENDED_AT_ONCE
                ),
                await audit.forget(
                    connection, before=now - self._audit_retention, limit=ENDED_AT_ONCE
                ),
                await idempotency.forget(connection, before=now - KEYS_KEPT, limit=ENDED_AT_ONCE),
                await reports.forget(connection, before=now - REPORTS_KEPT, limit=ENDED_AT_ONCE),
            ]
        if max(forgotten) < ENDED_AT_ONCE:
            await self._pause_until(now + LOOK_FOR_OLD_EVERY)

    async def purge(self) -> None:
        """Delete expired data of the next tenant, in batches."""
        now = self._clock.now()
        async with self._database.transaction() as connection:
            purged = await purging.purge(
                connection,
                default=self._retention,
                before=now - PURGE_EVERY,
                now=now,
                limit=PURGED_AT_ONCE,
            )
        if purged is None:
            await self._pause_until(now + LOOK_FOR_OLD_EVERY)

    async def take_over(self) -> None:
        """Free what dead workers held: for the one process that delivers from an SQLite file."""
        async with self._database.transaction() as connection:
            if freed := await outbox.release_all(connection, now=self._clock.now()):
                log.warning("taking over %d messages of a dead worker", freed)

    async def leave(self) -> None:
        """Give back every lease and take the heartbeat away."""
        await self._leases.release_all()
        async with self._database.transaction() as connection:
            await permits.return_connections(connection, worker_id=self._leases.owner)
            await workers.leave(connection, worker_id=self._leases.owner)

    async def _pause_until(self, moment: datetime) -> None:
        await self._clock.wait(self._never, moment)
