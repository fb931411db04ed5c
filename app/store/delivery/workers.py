"""Store workers: their heartbeats, and the locks by which their sessions show that they live.

On PostgreSQL a worker may hold a session-level advisory lock with its own key. The server drops it
when the process or its machine goes. `server_started_at` in the worker's row says in which server
it holds the lock: of another server, a missing lock says nothing.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, Select, and_, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.frozen_dataclass import frozen_dataclass
from app.store.db.expressions import DialectExpression
from app.store.tables.core import workers

# The statements of a worker's own session, which is a connection of asyncpg. It waits for its own
# former session, and for others that look.
LOCK: Final = "SELECT pg_advisory_lock(hashtextextended($1, 0))"
# A shared lock until the end of the statement: those who look do not exclude each other.
_IS_LOCK_FREE: Final = "pg_try_advisory_xact_lock_shared(hashtextextended(workers.id, 0))"
_IS_OF_SERVER: Final = "workers.server_started_at = pg_postmaster_start_time()"
LOOK: Final = (
    f"SELECT id, CASE WHEN id = $1 THEN false ELSE {_IS_LOCK_FREE} END AS is_lock_free,"  # noqa: S608 - our own
    f" server_started_at FROM workers WHERE {_IS_OF_SERVER}"
)
SERVER_STARTED_AT: Final = "SELECT pg_postmaster_start_time()"


class _IsGone(DialectExpression[bool]):
    """Whether a worker's session has ended without a word; on SQLite nothing says so."""

    type = Boolean()
    inherit_cache = True
    sqlite = "false"
    # In a transaction that goes on, the shared lock keeps the worker from taking its own again.
    postgresql = f"coalesce({_IS_OF_SERVER} AND {_IS_LOCK_FREE}, false)"


@frozen_dataclass
class Session:
    """When the server started in which the worker's session holds its lock; None: it has none."""

    server_started_at: datetime | None


async def record_heartbeat(
    connection: AsyncConnection,
    *,
    worker_id: str,
    hostname: str,
    pid: int,
    started_at: datetime,
    now: datetime,
    session: Session | None = None,
) -> bool:
    """Record that a worker is alive, and its session if given; only the worker writes its row.

    Returns False if there was none: it is new, or another worker has removed it as dead.
    """
    values: dict[str, Any] = {"seen_at": now}
    if session is not None:
        values["server_started_at"] = session.server_started_at
    result = await connection.execute(
        update(workers).where(workers.c.id == worker_id).values(values)
    )
    if result.rowcount:
        return True
    row = {"id": worker_id, "hostname": hostname, "pid": pid, "started_at": started_at, **values}
    await connection.execute(insert(workers).values(row))
    return False


async def remove_gone(connection: AsyncConnection, *, worker_id: str) -> bool:
    """Delete a worker whose lock is gone; False if it is back, removed, or others write its row.

    Until the transaction ends, the worker cannot take its lock again.
    """
    gone = (
        select(workers.c.id)
        .where(workers.c.id == worker_id, _IsGone())
        .with_for_update(skip_locked=True)
        .correlate(None)
    )
    result = await connection.execute(delete(workers).where(workers.c.id.in_(gone)))
    return bool(result.rowcount)


def is_alive(*, since: ColumnElement[datetime] | datetime) -> ColumnElement[bool]:
    """Build the condition that a worker was seen since a moment, and its session has not ended."""
    return and_(workers.c.seen_at >= since, ~_IsGone())


async def list_hostnames(connection: AsyncConnection, *, since: datetime) -> list[str]:
    """Return the hostnames of workers seen since a moment, one per worker.

    Whatever their locks say: a live worker may be between two sessions.
    """
    query = select(workers.c.hostname).where(workers.c.seen_at >= since).order_by(workers.c.id)
    return list((await connection.execute(query)).scalars())


def build_count(*, since: datetime) -> Select[int]:
    """Build the query for how many workers were seen since a moment, and live."""
    return select(func.count()).select_from(workers).where(is_alive(since=since))


async def deregister(connection: AsyncConnection, *, worker_id: str) -> None:
    """Delete a worker that ends."""
    await connection.execute(delete(workers).where(workers.c.id == worker_id))


async def delete_stale(connection: AsyncConnection, *, before: datetime) -> None:
    """Delete workers last seen before a moment: they crashed."""
    await connection.execute(delete(workers).where(workers.c.seen_at < before))
