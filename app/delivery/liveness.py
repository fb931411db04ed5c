"""Show by a lock of the database session that this worker lives, and take over from dead ones.

On PostgreSQL the connection that listens holds an advisory lock, and the worker's row says so. The
server drops the lock when the process or its machine goes. Every worker looks a few times a second
whose lock is gone. If it stays away for `GONE_SECONDS`, the worker that sees it ends the leases and
the connection permits of the dead one, in one transaction that also deletes its row.

A live worker can lose its session too. Then it says in its row that only time counts, and its
leases last as long as without a lock. Until it has said so, or has its lock again, it begins no
transmission later than `CERTAIN_SECONDS` after its session last answered: nobody takes over so
early. Decision 0036 has the argument, fault by fault.
"""

import asyncio
import logging
import math
import os
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from app.delivery.leases import Leases
from app.domain.clock import Clock, uptime_seconds
from app.domain.errors import Unavailable
from app.store.db.database import Database
from app.store.delivery import clamping, shared_limits, workers
from app.store.outbox import leases as outbox

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.25
# How long a lock that this session has seen must be gone.
GONE_SECONDS: Final = 1.0
# The same for a lock that was gone when this session began. A crash of the server ends all sessions
# at once: this leaves the others time to come back.
UNSEEN_SECONDS: Final = 5.0
CERTAIN_SECONDS: Final = 0.9
# A session that answers later than that for so long is too slow: only time counts.
LATE_SECONDS: Final = 3.0
END_SECONDS: Final = 2.0


class Liveness:
    """Watches over the session of one worker, and over those of all others.

    Calls `revoke` if another worker has taken over what this one held: its connections too.
    """

    interval_seconds: float = LOOK_SECONDS

    def __init__(
        self,
        database: Database,
        *,
        leases: Leases,
        clock: Clock,
        machine: str,
        revoke: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._leases = leases
        self._clock = clock
        self._machine = machine
        self._revoke = revoke
        self._started_at: datetime | None = None
        self._row_lock = asyncio.Lock()
        self._is_deregistered = False
        self._is_recorded = False
        self._late_since: float | None = None
        self._seen: set[str] = set()
        self._gone_since: dict[str, float] = {}
        self._takeovers: dict[str, asyncio.Task[None]] = {}

    async def beat(self) -> None:
        """Write the heartbeat and renew the connection permits. Raises Unavailable."""
        await self._write_row()

    async def begin(self, connection: Any) -> None:  # noqa: ANN401 - asyncpg has no types
        """Take the lock in a new session."""
        self._is_recorded, self._late_since = False, None
        self._seen.clear()
        self._gone_since.clear()
        await connection.fetchval(workers.LOCK, self._leases.owner)

    async def check(self, connection: Any) -> None:  # noqa: ANN401 - as above
        """Look whose lock is gone; the answer shows that this session has its own."""
        asked_at = uptime_seconds()
        rows = await connection.fetch(workers.LOOK, self._leases.owner)
        certain_until = asked_at + CERTAIN_SECONDS
        if uptime_seconds() < certain_until:
            self._late_since = None
            await self._confirm(connection, rows, certain_until)
        elif self._late_since is None:
            self._late_since = asked_at
        elif uptime_seconds() - self._late_since >= LATE_SECONDS:
            await self.end()
        for worker_id in self._find_gone(rows):
            self._start_takeover(worker_id)

    async def end(self) -> None:
        """Say that only time counts, while there is no session, or too slow a one."""
        self._is_recorded = False
        if self._leases.needs_no_session or self._is_deregistered:
            return
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._record_session(None)
        except (Unavailable, TimeoutError):
            log.warning(
                "no session and no database: beginning no transmission until either is back"
            )
        else:
            self._leases.trust_until(math.inf)

    async def deregister(self) -> None:
        """Delete the row and return the connection permits. Raises Unavailable."""
        async with self._row_lock:
            self._is_deregistered = True
            async with self._database.transaction() as connection:
                await shared_limits.return_connections(connection, worker_id=self._leases.owner)
                await workers.deregister(connection, worker_id=self._leases.owner)

    async def close(self) -> None:
        """Stop the takeovers in progress."""
        takeovers = list(self._takeovers.values())
        for takeover in takeovers:
            takeover.cancel()
        await asyncio.gather(*takeovers, return_exceptions=True)

    async def _confirm(self, connection: Any, rows: Iterable[Any], certain_until: float) -> None:  # noqa: ANN401 - as above
        """Be certain of the leases for a while; record the session first."""
        has_row = any(row["id"] == self._leases.owner for row in rows)
        if not (self._is_recorded and has_row) and not self._is_deregistered:
            if self._leases.is_certain:  # nobody has taken over before this session had the lock
                self._leases.trust_until(certain_until)
            server_started_at = await connection.fetchval(workers.SERVER_STARTED_AT)
            try:
                await self._record_session(server_started_at)
            except Unavailable:
                return
            self._is_recorded = True
        self._leases.trust_until(certain_until)

    async def _record_session(self, server_started_at: datetime | None) -> None:
        """Record where the lock is, then learn what others may have taken over before."""
        await self._write_row(workers.Session(server_started_at))
        if not self._leases.is_certain:
            await self._leases.renew()

    async def _write_row(self, session: workers.Session | None = None) -> None:
        now = self._clock.now()
        self._started_at = self._started_at or now
        async with self._row_lock:
            if self._is_deregistered:
                return
            async with self._database.transaction() as connection:
                had_row = await workers.record_heartbeat(
                    connection,
                    worker_id=self._leases.owner,
                    hostname=self._machine,
                    pid=os.getpid(),
                    started_at=self._started_at,
                    now=now,
                )
                if session is not None:
                    await workers.record_session(connection, session, worker_id=self._leases.owner)
                await shared_limits.renew_connections(
                    connection, worker_id=self._leases.owner, until=now + self._leases.length
                )
        if not had_row:
            await self._revoke()

    def _find_gone(self, rows: Iterable[Any]) -> list[str]:
        """Return the workers whose locks have been gone for long enough."""
        now = uptime_seconds()
        is_free = {row["id"]: row["is_lock_free"] for row in rows}
        self._seen.update(worker_id for worker_id in is_free if not is_free[worker_id])
        self._gone_since = {
            worker_id: self._gone_since.get(worker_id, now)
            for worker_id in is_free
            if is_free[worker_id]
        }
        return [
            worker_id
            for worker_id, since in self._gone_since.items()
            if now - since >= (GONE_SECONDS if worker_id in self._seen else UNSEEN_SECONDS)
        ]

    def _start_takeover(self, worker_id: str) -> None:
        """Take over beside the looks, which must go on."""
        if worker_id not in self._takeovers:
            takeover = asyncio.create_task(self._take_over(worker_id), name="takeover")
            self._takeovers[worker_id] = takeover
            takeover.add_done_callback(lambda _: self._takeovers.pop(worker_id))

    async def _take_over(self, worker_id: str) -> None:
        """End the leases and permits of a dead worker; without a database, try at the next look."""
        now = self._clock.now()
        with suppress(Unavailable):
            async with self._database.transaction(announce=True) as connection:
                if not await workers.remove_gone(connection, worker_id=worker_id):
                    return
                await shared_limits.return_connections(connection, worker_id=worker_id)
                freed = await outbox.end_leases(
                    connection, owner=worker_id, now=now, latest=now + clamping.LATEST_LEASE
                )
            log.warning("the worker %s is gone, taking over %d messages", worker_id, freed)
