"""Maintain a worker: renew leases, send heartbeats, expire messages."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from app.delivery.engine_parts import EngineConfig, EngineParts
from app.delivery.liveness import Liveness
from app.domain.clock import monotonic_seconds
from app.domain.delivery.due_ranges import compute_pause_seconds
from app.store import audit, console_sessions, idempotency, submissions
from app.store import retention as purging
from app.store.delivery import clamping, workers
from app.store.inbound import reports
from app.store.outbox import leases as outbox
from app.store.outbox import results as outcomes

log = logging.getLogger(__name__)

RENEWALS_PER_LEASE: Final = 3
MAX_ROWS: Final = 500
IDEMPOTENCY_RETENTION: Final = timedelta(hours=24)
REPORT_RETENTION: Final = timedelta(days=30)
# Small, so that requests for the same messages wait briefly.
PURGE_BATCH_ROWS: Final = 100
PURGE_EVERY: Final = timedelta(hours=1)
CLOCK_STEP: Final = timedelta(seconds=1)
CLAMP_EVERY: Final = timedelta(minutes=10)
DELETE_EVERY: Final = timedelta(minutes=1)
DEAD_AFTER_LEASES: Final = 2


@dataclass(slots=True, kw_only=True)
class Maintenance:
    """The duties of one worker. A duty does one step, then waits for the next."""

    parts: EngineParts
    config: EngineConfig
    liveness: Liveness
    no_event: asyncio.Event = field(default_factory=asyncio.Event)
    clock_set_back: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def duties(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """The steps to repeat while the worker runs."""
        return (
            self.renew_leases,
            self.clamp_times,
            self.expire_messages,
            self.delete_old_rows,
            self.purge_messages,
        )

    async def renew_leases(self) -> None:
        """Set the clock, extend the leases and write the heartbeat."""
        await self._set_clock()
        await self.parts.leases.renew()
        await self.liveness.beat()
        now = self.parts.clock.now()
        dead_before = now - DEAD_AFTER_LEASES * self.config.lease
        async with self.parts.database.transaction() as connection:
            await workers.delete_stale(connection, before=dead_before)
        await self._pause_until(now + self.config.lease / RENEWALS_PER_LEASE)

    async def _set_clock(self) -> None:
        if self.parts.sync_clock is None:
            return
        before = self.parts.clock.now()
        await self.parts.sync_clock()
        if self.parts.clock.now() < before - CLOCK_STEP:  # times planned before are too late
            self.clock_set_back.set()

    async def expire_messages(self) -> None:
        """Expire messages that are past their time, and cancel those of deleted profiles."""
        now, finished = self.parts.clock.now(), 0
        async with self.parts.database.reading() as connection:
            started_at = monotonic_seconds()
            has_work = await outcomes.has_expired_or_orphaned(connection, now=now)
            seconds = monotonic_seconds() - started_at
        if has_work:
            async with self.parts.database.transaction() as connection:
                for finish in (outcomes.expire, outcomes.cancel_orphans):
                    finished += await finish(
                        connection,
                        now=now,
                        limit=MAX_ROWS,
                        is_clock_checked=self.parts.is_clock_checked,
                    )
        if finished < MAX_ROWS:
            # Beside an old transaction of PostgreSQL, the look passes dead index entries.
            pause = timedelta(seconds=compute_pause_seconds(seconds))
            await self._pause_until(now + max(self.config.poll_interval, pause))

    async def clamp_times(self) -> None:
        """Clamp times that a clock in the future has planned.

        Runs at the start and whenever the clock was set back. Sets the clock first: to a clock that
        is behind, all times would seem too late.
        """
        await self._set_clock()
        self.clock_set_back.clear()
        now = self.parts.clock.now()
        async with self.parts.database.transaction() as connection:
            clamped = await clamping.clamp_times(connection, now=now, lease=self.config.lease)
        if clamped:
            log.warning("clamped %d times beyond any schedule: a clock was wrong", clamped)
        await self.parts.clock.wait(self.clock_set_back, now + CLAMP_EVERY)

    async def delete_old_rows(self) -> None:
        """Delete rows past the service's own retention, and expired sessions of the console."""
        now = self.parts.clock.now()
        async with self.parts.database.transaction() as connection:
            deleted = [
                await outcomes.delete_old_transcripts(
                    connection, before=now - self.config.transcript_retention, limit=MAX_ROWS
                ),
                await audit.delete_old(
                    connection, before=now - self.config.audit_retention, limit=MAX_ROWS
                ),
                await submissions.delete_old(
                    connection, before=now - self.config.submission_retention, limit=MAX_ROWS
                ),
                await idempotency.delete_old(
                    connection, before=now - IDEMPOTENCY_RETENTION, limit=MAX_ROWS
                ),
                await reports.delete_old(connection, before=now - REPORT_RETENTION, limit=MAX_ROWS),
                await console_sessions.delete_old(connection, now=now, limit=MAX_ROWS),
            ]
        if max(deleted) < MAX_ROWS:
            await self._pause_until(now + DELETE_EVERY)

    async def purge_messages(self) -> None:
        """Delete a batch past the retention of the next tenant."""
        now = self.parts.clock.now()
        async with self.parts.database.transaction() as connection:
            purged = await purging.purge(
                connection,
                default=self.config.retention,
                before=now - PURGE_EVERY,
                now=now,
                limit=PURGE_BATCH_ROWS,
            )
        if purged is None:
            await self._pause_until(now + DELETE_EVERY)

    async def take_over(self) -> None:
        """Release the leases of dead workers; only for the sole process on SQLite."""
        async with self.parts.database.transaction() as connection:
            if freed := await outbox.release_all(connection):
                log.warning("taking over %d messages of a dead worker", freed)

    async def _pause_until(self, moment: datetime) -> None:
        await self.parts.clock.wait(self.no_event, moment)
