"""Workers say that they are alive."""

from datetime import datetime

import pytest
from sqlalchemy import select, text

from app.store.db.database import Database
from app.store.delivery import workers
from app.store.delivery.workers import Session
from app.store.tables import core as tables
from tests.support.rows import HOUR, MINUTE, NOW


async def beat(
    database: Database, worker_id: str, minutes: int, session: Session | None = None
) -> None:
    """A beat of a worker, so many minutes after its start."""
    async with database.transaction() as connection:
        await workers.record_heartbeat(
            connection,
            worker_id=worker_id,
            hostname="host",
            pid=7,
            started_at=NOW,
            now=NOW + MINUTE * minutes,
            session=session,
        )


async def list_workers(database: Database) -> list[tuple[object, ...]]:
    """Each worker, when it started, and when it was last heard of."""
    columns = tables.workers.c
    query = select(columns.id, columns.pid, columns.started_at, columns.seen_at)
    async with database.reading() as connection:
        return [tuple(row) for row in await connection.execute(query.order_by(columns.id))]


async def test_a_worker_is_known_once(database: Database) -> None:
    """Each beat moves its moment, and nothing else."""
    for minutes in (0, 1, 2):
        await beat(database, "wrk_1", minutes)
    assert await list_workers(database) == [("wrk_1", 7, NOW, NOW + MINUTE * 2)]


async def test_a_worker_that_leaves_or_falls_silent_is_forgotten(database: Database) -> None:
    """One that said goodbye at once, one that did not after a while."""
    for worker_id, minutes in (("wrk_left", 90), ("wrk_lost", 1), ("wrk_live", 90)):
        await beat(database, worker_id, minutes)
    async with database.transaction() as connection:
        await workers.deregister(connection, worker_id="wrk_left")
        await workers.delete_stale(connection, before=NOW + HOUR)
    assert [row[0] for row in await list_workers(database)] == ["wrk_live"]


LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:id, 0))")
SERVER_STARTED_AT = text(workers.SERVER_STARTED_AT)


async def record_sessions(database: Database, sessions: dict[str, datetime | None]) -> None:
    """Workers that were seen now, and in which servers they hold locks."""
    for worker_id, server_started_at in sessions.items():
        await beat(database, worker_id, 0, Session(server_started_at))


async def remove(database: Database, worker_id: str) -> bool:
    """Whether the worker was removed as dead."""
    async with database.transaction() as connection:
        return await workers.remove_gone(connection, worker_id=worker_id)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.postgresql
async def test_only_a_worker_whose_lock_is_free_is_gone(database: Database) -> None:
    """Not one without a session, nor one whose lock another server had (invariant 3)."""
    async with database.reading() as connection:
        server_started_at = (await connection.execute(SERVER_STARTED_AT)).scalar_one()
    await record_sessions(
        database,
        {
            "wrk_dead": server_started_at,
            "wrk_elsewhere": server_started_at - HOUR,
            "wrk_live": server_started_at,
            "wrk_pooled": None,
        },
    )
    async with database.transaction() as session:
        await session.execute(LOCK, {"id": "wrk_live"})
        async with database.reading() as connection:
            count = (await connection.execute(workers.build_count(since=NOW))).scalar_one()
            hostnames = await workers.list_hostnames(connection, since=NOW)
        removed_ids = [
            row[0] for row in await list_workers(database) if await remove(database, str(row[0]))
        ]
    assert count == 3
    assert len(hostnames) == 4  # of which the silent one may be between two sessions
    assert removed_ids == ["wrk_dead"]
    assert [row[0] for row in await list_workers(database)] == [
        "wrk_elsewhere",
        "wrk_live",
        "wrk_pooled",
    ]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_on_sqlite_nobody_is_gone_before_time(database: Database) -> None:
    """The lock of the file tells a new worker, and there is no other."""
    await record_sessions(database, {"wrk_1": NOW})
    assert not await remove(database, "wrk_1")
    assert len(await list_workers(database)) == 1
