"""Store workers and their heartbeats."""

from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables.core import workers


async def record_heartbeat(
    connection: AsyncConnection,
    *,
    worker_id: str,
    hostname: str,
    pid: int,
    started_at: datetime,
    now: datetime,
) -> None:
    """Write that the worker is alive. Its id is its own: nobody else writes the row."""
    result = await connection.execute(
        update(workers).where(workers.c.id == worker_id).values(seen_at=now)
    )
    if result.rowcount == 0:
        await connection.execute(
            insert(workers).values(
                id=worker_id, hostname=hostname, pid=pid, started_at=started_at, seen_at=now
            )
        )


async def list_hostnames(connection: AsyncConnection, *, since: datetime) -> list[str]:
    """The machines of those that were heard of since a moment, one for each worker."""
    query = select(workers.c.hostname).where(workers.c.seen_at >= since).order_by(workers.c.id)
    return list((await connection.execute(query)).scalars())


async def deregister(connection: AsyncConnection, *, worker_id: str) -> None:
    """The worker has ended."""
    await connection.execute(delete(workers).where(workers.c.id == worker_id))


async def delete_stale(connection: AsyncConnection, *, before: datetime) -> None:
    """Forget the workers that were last heard of before a moment: they ended without a word."""
    await connection.execute(delete(workers).where(workers.c.seen_at < before))
