"""Workers say that they are alive."""

from sqlalchemy import select

from app.store.db.engine import Database
from app.store.delivery import workers
from app.store.tables import core as tables
from tests.support.rows import HOUR, MINUTE, NOW


async def beat(database: Database, worker_id: str, minutes: int) -> None:
    """A beat of a worker, so many minutes after its start."""
    async with database.transaction() as connection:
        await workers.record_heartbeat(
            connection,
            worker_id=worker_id,
            hostname="host",
            pid=7,
            started_at=NOW,
            now=NOW + MINUTE * minutes,
        )


async def known(database: Database) -> list[tuple[object, ...]]:
    """Each worker, when it started, and when it was last heard of."""
    columns = tables.workers.c
    query = select(columns.id, columns.pid, columns.started_at, columns.seen_at)
    async with database.reading() as connection:
        return [tuple(row) for row in await connection.execute(query.order_by(columns.id))]


async def test_a_worker_is_known_once(database: Database) -> None:
    """Each beat moves its moment, and nothing else."""
    for minutes in (0, 1, 2):
        await beat(database, "wrk_1", minutes)
    assert await known(database) == [("wrk_1", 7, NOW, NOW + MINUTE * 2)]


async def test_a_worker_that_leaves_or_falls_silent_is_forgotten(database: Database) -> None:
    """One that said goodbye at once, one that did not after a while."""
    for worker_id, minutes in (("wrk_left", 90), ("wrk_lost", 1), ("wrk_live", 90)):
        await beat(database, worker_id, minutes)
    async with database.transaction() as connection:
        await workers.deregister(connection, worker_id="wrk_left")
        await workers.delete_stale(connection, before=NOW + HOUR)
    assert [row[0] for row in await known(database)] == ["wrk_live"]
