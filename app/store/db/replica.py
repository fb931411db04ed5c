"""Read from a standby what may be seconds old, and from the primary if the standby is older."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.clock import monotonic_seconds
from app.domain.errors import NotFound, Unavailable
from app.store.db.database import Database
from app.store.db.errors import CONNECTION_REFUSED

log = logging.getLogger(__name__)
T = TypeVar("T")

CHECK_INTERVAL_SECONDS: Final = 1.0
# A reader waits so long for a check, if it cannot trust the last one.
CHECK_SECONDS: Final = 2.0
AWAY_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.02
# The position is how much of the write-ahead log a primary has written, or a standby has replayed.
_SELECT_STATE: Final = text("""
SELECT system_identifier AS cluster, pg_is_in_recovery() AS is_standby,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
             ELSE pg_current_wal_lsn() END - '0/0'::pg_lsn)::bigint AS position
FROM pg_control_system()
""")


class Reader(Protocol):
    """Runs a read on a connection of its choice."""

    async def read(
        self, work: Callable[[AsyncConnection], Awaitable[T]], *, is_analytic: bool = False
    ) -> T:
        """Return what `work` returns; it must be repeatable."""
        ...


class _State(NamedTuple):
    cluster: int
    is_standby: bool
    position: int


class _Target(NamedTuple):
    primary: _State
    at_seconds: float


class _UnfitError(Exception):
    """A connection leads to a server that is no standby of the primary, or is behind."""


# How a standby fails that the primary makes up for. Replication may cancel a query of a standby.
_FAULTS: Final = (_UnfitError, Unavailable, DBAPIError, *CONNECTION_REFUSED)


class Replica:
    """Reads from a standby that had all of the primary's commits at most `max_lag_seconds` ago.

    A standby's own answer would not show that it has lost the primary. So Heloise notes the
    primary's position, and asks the standby when it has reached it. The connections of a pool may
    lead to several standbys, so each read asks its own.
    """

    def __init__(
        self, primary: Database, standby: Database | None, *, max_lag_seconds: float
    ) -> None:
        self._primary = primary
        self._standby = standby
        self._max_lag_seconds = max_lag_seconds
        self._target: _Target | None = None
        self._reached: _Target | None = None
        self._next_check_seconds = 0.0
        self._check_task: asyncio.Task[None] | None = None

    async def read(
        self, work: Callable[[AsyncConnection], Awaitable[T]], *, is_analytic: bool = False
    ) -> T:
        """Run `work` on the standby, or on the primary if the standby is old, away or in the way.

        `work` must be repeatable. What the standby does not find is looked for on the primary.
        Raises Unavailable.
        """
        if self._standby is not None and await self._is_fresh():
            guarded = partial(self._run_if_fresh, work)
            try:
                answer = await self._standby.read(guarded, is_analytic=is_analytic)
            except (*_FAULTS, NotFound):
                pass
            else:
                self._primary.observer.record_replica_read("standby")
                return answer
        if self._standby is not None:
            self._primary.observer.record_replica_read("primary")
        return await self._primary.read(work, is_analytic=is_analytic)

    async def close(self) -> None:
        """Close every connection to the standby."""
        if self._check_task is not None:
            self._check_task.cancel()
            await asyncio.wait({self._check_task})
        if self._standby is not None:
            await self._standby.close()

    async def _is_fresh(self) -> bool:
        now = monotonic_seconds()
        if self._check_task is None and now >= self._next_check_seconds:
            # It goes on for other readers, so it keeps no request's id and no span of theirs.
            self._check_task = asyncio.create_task(self._check(), context=Context())
        if not self._was_fresh(now) and self._check_task is not None:
            await asyncio.wait({self._check_task})
        return self._was_fresh(monotonic_seconds())

    def _was_fresh(self, now_seconds: float) -> bool:
        reached = self._reached
        return reached is not None and now_seconds - reached.at_seconds <= self._max_lag_seconds

    async def _run_if_fresh(
        self, work: Callable[[AsyncConnection], Awaitable[T]], connection: AsyncConnection
    ) -> T:
        """Run `work` if this connection's server has what the last check found on one of them."""
        assert self._reached is not None  # noqa: S101 - without a check nothing is fresh
        if not _has_reached(await _load_state(connection), self._reached.primary):
            raise _UnfitError("the server is behind the standby that was asked last")
        return await work(connection)

    async def _check(self) -> None:
        """Note since when the standby has what the primary had."""
        pause_seconds = AWAY_SECONDS
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._wait_for_target()
            pause_seconds = CHECK_INTERVAL_SECONDS
        except (*_FAULTS, TimeoutError) as error:
            log.warning("the standby of HELOISE_DATABASE_READ_URL lags or is away: %s", error)
        finally:
            self._next_check_seconds = monotonic_seconds() + pause_seconds
            self._check_task = None

    async def _wait_for_target(self) -> None:
        assert self._standby is not None  # noqa: S101 - only with one there are checks
        now = monotonic_seconds()
        # A failover may lose what an old target counts.
        if self._target is None or now - self._target.at_seconds > self._max_lag_seconds:
            self._target = _Target(await self._primary.read(_load_state), now)
        primary = self._target.primary
        try:
            while not _has_reached(await self._standby.read(_load_state), primary):  # noqa: ASYNC110 - a server's
                await asyncio.sleep(POLL_SECONDS)
        except _UnfitError:
            await self._standby.replace_connections()  # new ones may find a standby
            raise
        self._reached, self._target = self._target, None


async def _load_state(connection: AsyncConnection) -> _State:
    return _State(*(await connection.execute(_SELECT_STATE)).one())


def _has_reached(state: _State, primary: _State) -> bool:
    """Whether a standby has all that the primary had; raises _UnfitError."""
    if not state.is_standby:
        raise _UnfitError("the server is a primary")
    if state.cluster != primary.cluster:
        raise _UnfitError("the server is a standby of another primary")
    return state.position >= primary.position
