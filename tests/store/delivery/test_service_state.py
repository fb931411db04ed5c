"""The state of the service: live workers with their leases, the last purge."""

from sqlalchemy import update

from app.domain.tenants.retention import Retention
from app.store import retention
from app.store.db.database import Database
from app.store.delivery import workers
from app.store.delivery.service_state import load_service_state
from app.store.tables import core as tables
from tests.support.rows import (
    HOUR,
    MINUTE,
    NOW,
    leased_messages,
    made_profile,
    made_tenant,
    queued_message,
)


async def test_live_workers_have_their_leases(database: Database) -> None:
    """Dead ones are left out."""
    profile = await made_profile(database, await made_tenant(database))
    await queued_message(database, profile)
    await leased_messages(database, profile, owner="wrk_1")
    async with database.transaction() as connection:
        for name, seen_at in (("wrk_1", NOW), ("wrk_2", NOW), ("wrk_3", NOW - HOUR)):
            await workers.record_heartbeat(
                connection, worker_id=name, hostname="h", pid=1, started_at=NOW, now=seen_at
            )
    async with database.reading() as connection:
        state = await load_service_state(connection, alive_since=NOW - MINUTE)
    assert [(worker.id, worker.leased) for worker in state.workers] == [("wrk_1", 1), ("wrk_2", 0)]
    first, second = state.workers
    assert first.leased_until is not None
    assert first.leased_until > NOW
    assert second.leased_until is None
    assert state.database_bytes > 0


async def test_the_last_purge_is_that_of_the_tenant_that_waits_longest(database: Database) -> None:
    """A new tenant has nothing to purge, so it does not count."""
    for slug in ("acme", "other"):
        await made_tenant(database, slug)
    async with database.transaction() as connection:
        await retention.purge(connection, default=Retention(), before=NOW, now=NOW - HOUR, limit=10)
    async with database.reading() as connection:
        state = await load_service_state(connection, alive_since=NOW)
    assert state.purged_at == NOW - HOUR
    async with database.transaction() as connection:
        await connection.execute(
            update(tables.purges)
            .where(tables.purges.c.purged_at < NOW - HOUR)
            .values(purged_at=NOW - 2 * HOUR)
        )
    async with database.reading() as connection:
        state = await load_service_state(connection, alive_since=NOW)
    assert state.purged_at == NOW - 2 * HOUR
