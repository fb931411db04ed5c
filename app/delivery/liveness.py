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
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from typing import Any, Final

from app.delivery.leases import Leases
from app.domain.clock import Clock, uptime_seconds
from app.domain.errors import Unavailable
from app.store.db.database import Database
from app.store.db.listener import SessionWatch
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
# With later answers, a worker would be certain for only a moment between two looks.
PROMPT_SECONDS: Final = (CERTAIN_SECONDS - LOOK_SECONDS) / 2
# Prompt answers come more often. Between two that are further apart, a lock may have come back.
STALE_SECONDS: Final = 0.6
# A session that answers later than that for so long is too slow: only time counts.
LATE_SECONDS: Final = 3.0
# To say so is safe however late, and a slow database needs the time.
END_SECONDS: Final = 30.0
TAKEOVER_RETRY_SECONDS: Final = 2.0


@dataclass(eq=False, repr=False)
class Liveness(SessionWatch):
    """Watches over the session of one worker, and over those of all others.

    Calls `revoke` if another worker has taken over what this one held: its connections too.
    """

    interval_seconds = LOOK_SECONDS

    database: Database
    _: KW_ONLY
    leases: Leases
    clock: Clock
    machine: str
    revoke: Callable[[], Awaitable[None]]
    _started_at: datetime | None = None
    _row_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _is_deregistered: bool = False
    _is_recorded: bool = False
    _must_renew: bool = False
    _must_revoke: bool = False
    _late_since: float | None = None
    _seen: set[str] = field(default_factory=set)
    _looked_at: float = -math.inf
    _gone_since: dict[str, float] = field(default_factory=dict)
    _takeover: asyncio.Task[None] | None = None

    async def beat(self) -> None:
        """Write the heartbeat and renew the connection permits. Raises Unavailable."""
        await self._write_row()
        await self._revoke_lost()

    async def begin(self, connection: Any) -> None:  # noqa: ANN401 - asyncpg has no types
        """Take the lock in a new session."""
        self._is_recorded, self._late_since = False, None
        self._seen.clear()
        self._gone_since.clear()
        await connection.fetchval(workers.LOCK, self.leases.owner)

    async def check(self, connection: Any) -> None:  # noqa: ANN401 - as above
        """Look whose lock is gone; the answer shows that this session has its own."""
        asked_at = uptime_seconds()
        rows = await connection.fetch(workers.LOOK, self.leases.owner)
        answered_at = uptime_seconds()
        is_late = answered_at - asked_at > PROMPT_SECONDS
        if not is_late:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = asked_at
        elif answered_at - self._late_since >= LATE_SECONDS:
            await self.end()
        if not is_late or self._is_recorded:
            await self._confirm(connection, rows, asked_at + CERTAIN_SECONDS)
        self._note_locks(rows, answered_at)
        self._start_takeover()

    async def end(self) -> None:
        """Say that only time counts, while there is no session, or too slow a one."""
        self._is_recorded = False
        if self.leases.needs_no_session or self._is_deregistered:
            return
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._record_session(None)
            await self._revoke_lost()
        except (Unavailable, TimeoutError):
            log.warning(
                "no session and no database: beginning no transmission until either is back"
            )
        else:
            self.leases.trust_until(math.inf)

    async def deregister(self) -> None:
        """Delete the row and return the connection permits. Raises Unavailable."""
        async with self._row_lock:
            self._is_deregistered = True
            async with self.database.transaction() as connection:
                await workers.deregister(connection, worker_id=self.leases.owner)
                await shared_limits.return_connections(connection, worker_id=self.leases.owner)

    async def aclose(self) -> None:
        """Stop the takeover in progress; only when no session is left to start another."""
        if self._takeover is not None:
            self._takeover.cancel()
            await asyncio.gather(self._takeover, return_exceptions=True)

    async def _confirm(self, connection: Any, rows: Iterable[Any], certain_until: float) -> None:  # noqa: ANN401 - as above
        """Be certain of the leases for a while; record the session first."""
        has_row = any(row["id"] == self.leases.owner for row in rows)
        if not (self._is_recorded and has_row) and not self._is_deregistered:
            if self.leases.is_certain:  # nobody has taken over before this session had the lock
                self.leases.trust_until(certain_until)
            server_started_at = await connection.fetchval(workers.SERVER_STARTED_AT)
            try:
                await self._record_session(server_started_at)
                await self._revoke_lost()
            except Unavailable:
                return
            self._is_recorded = True
        self.leases.trust_until(certain_until)

    async def _record_session(self, server_started_at: datetime | None) -> None:
        """Record where the lock is, then learn what others may have taken over before."""
        await self._write_row(workers.Session(server_started_at))
        if self._must_renew or not self.leases.is_certain:
            await self.leases.renew()
            self._must_renew = False

    async def _revoke_lost(self) -> None:
        """Give the connections up if somebody had removed this worker."""
        if self._must_revoke:
            self._must_revoke = False
            await self.revoke()

    async def _write_row(self, session: workers.Session | None = None) -> None:
        """Write the heartbeat; note if somebody had removed this worker, until it has reacted."""
        now = self.clock.now()
        self._started_at = self._started_at or now
        async with self._row_lock:
            if self._is_deregistered:
                return
            async with self.database.transaction() as connection:
                had_row = await workers.record_heartbeat(
                    connection,
                    worker_id=self.leases.owner,
                    hostname=self.machine,
                    pid=os.getpid(),
                    started_at=self._started_at,
                    now=now,
                    session=session,
                )
                if not had_row:  # before the commit, whose answer may not come
                    self._must_renew = self._must_revoke = True
                await shared_limits.renew_connections(
                    connection, worker_id=self.leases.owner, until=now + self.leases.length
                )

    def _note_locks(self, rows: Iterable[Any], answered_at: float) -> None:
        """Note since when the locks of other workers are gone."""
        if answered_at - self._looked_at > STALE_SECONDS:
            self._gone_since.clear()
        self._looked_at = answered_at
        is_free = {row["id"]: row["is_lock_free"] for row in rows}
        self._seen.update(worker_id for worker_id in is_free if not is_free[worker_id])
        self._gone_since = {
            worker_id: self._gone_since.get(worker_id, answered_at)
            for worker_id in is_free
            if is_free[worker_id]
        }

    def _is_gone(self, worker_id: str) -> bool:
        """Whether the lock of another worker has been gone for long enough, and still is."""
        since = self._gone_since.get(worker_id, math.inf)
        needed = GONE_SECONDS if worker_id in self._seen else UNSEEN_SECONDS
        is_fresh = uptime_seconds() - self._looked_at <= STALE_SECONDS
        return is_fresh and self._looked_at - since >= needed

    def _start_takeover(self) -> None:
        """Take over beside the looks, which must go on; one at a time."""
        gone = [worker_id for worker_id in self._gone_since if self._is_gone(worker_id)]
        if gone and (self._takeover is None or self._takeover.done()):
            self._takeover = asyncio.create_task(self._take_over_all(gone), name="takeover")

    async def _take_over_all(self, worker_ids: Iterable[str]) -> None:
        """Take over from dead workers; after an error, pause before a look starts it again."""
        for worker_id in worker_ids:
            try:
                await self._take_over(worker_id)
            except Unavailable as error:
                log.warning("could not take over from the worker %s: %s", worker_id, error)
                await asyncio.sleep(TAKEOVER_RETRY_SECONDS)
            except Exception:
                log.exception("could not take over from the worker %s", worker_id)
                await asyncio.sleep(TAKEOVER_RETRY_SECONDS)

    async def _take_over(self, worker_id: str) -> None:
        """End the leases and permits of a dead worker. Raises Unavailable."""
        async with self.database.transaction(announce=True) as connection:
            # It may have come back during the wait for a connection.
            if not self._is_gone(worker_id):
                return
            if not await workers.remove_gone(connection, worker_id=worker_id):
                return
            await shared_limits.return_connections(connection, worker_id=worker_id)
            now = self.clock.now()
            freed = await outbox.end_leases(
                connection,
                owner=worker_id,
                now=now,
                latest=now + self.leases.length + clamping.TOLERANCE,
            )
        self.leases.note_freed()
        log.warning("the worker %s is gone, taking over %d messages", worker_id, freed)
