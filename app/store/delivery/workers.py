"""Store workers and their heartbeats."""

from datetime import datetime

from sqlalchemy import Select, delete, func, insert, select, update
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
    """Record that a worker is alive; only the worker itself writes its row."""
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
    """Return the hostnames of workers seen since a moment, one per worker."""
    query = select(workers.c.hostname).where(workers.c.seen_at >= since).order_by(workers.c.id)
    return list((await connection.execute(query)).scalars())


def build_count(*, since: datetime) -> Select[int]:
    """Build the query for how many workers were seen since a moment."""
    return select(func.count()).select_from(workers).where(workers.c.seen_at >= since)


async def deregister(connection: AsyncConnection, *, worker_id: str) -> None:
    """Delete a worker that ends."""
    await connection.execute(delete(workers).where(workers.c.id == worker_id))


async def delete_stale(connection: AsyncConnection, *, before: datetime) -> None:
    """Delete workers last seen before a moment: they crashed."""
    await connection.execute(delete(workers).where(workers.c.seen_at < before))
