"""The gauges of the database's health, and how often they are read."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import make_url, text, update

from app.metrics import database_gauges
from app.metrics import definitions as gauges
from app.metrics.collection import Metrics
from app.metrics.health import CACHE_SECONDS, HealthGauges
from app.store.db.database import Database
from app.store.tables.core import purges
from tests.support.database.postgresql import Server
from tests.support.database.statements import record_statements
from tests.support.hand_clock import HandClock
from tests.support.rows import made_tenant

NOW = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
BOTH = {gauges.DURABLE, gauges.WAL_SIZE, gauges.OLDEST_PURGE}
POSTGRESQL = {
    gauges.TABLE_SIZE,
    gauges.LIVE_ROWS,
    gauges.DEAD_ROWS,
    gauges.OLDEST_TRANSACTION,
    gauges.REPLICATION_SLOTS,
    gauges.RETAINED_WAL,
    gauges.SERVER_CONNECTIONS,
    gauges.SERVER_CONNECTIONS_LIMIT,
}


async def test_each_database_has_its_gauges(database: Database) -> None:
    """The PostgreSQL of the tests runs without fsync, so it is not durable."""
    await made_tenant(database)
    async with database.transaction() as connection:
        await connection.execute(update(purges).values(purged_at=NOW - timedelta(hours=2)))
    values = await HealthGauges(database).load(NOW)
    assert set(values) == (BOTH | POSTGRESQL if database.is_postgresql else BOTH)
    assert values[gauges.OLDEST_PURGE] == {(): 7200}
    assert values[gauges.DURABLE] == {(): 0 if database.is_postgresql else 1}
    if database.is_postgresql:
        assert values[gauges.TABLE_SIZE][("tenants",)] > 0
        assert values[gauges.REPLICATION_SLOTS] == {("used",): 0, ("unused",): 0}


async def test_a_minute_passes_between_two_readings(database: Database) -> None:
    """Scrapes in between cost no statement."""
    seconds = 100.0
    health = HealthGauges(database, lambda: seconds)
    first = await health.load(NOW)
    seconds += CACHE_SECONDS - 1
    with record_statements() as statements:
        assert await health.load(NOW) is first
        assert statements == []
        seconds += 1
        await health.load(NOW)
        assert statements


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.postgresql
async def test_an_old_transaction_has_an_age(database: Database, migrated_url: str) -> None:
    """The session that reads does not count."""
    connection = await asyncpg.connect(migrated_url)
    try:
        await connection.execute("BEGIN")
        values = await HealthGauges(database).load(NOW)
        assert values[gauges.OLDEST_TRANSACTION][()] > 0
        await connection.execute("COMMIT")
        values = await HealthGauges(database).load(NOW)
        assert values[gauges.OLDEST_TRANSACTION] == {(): 0}
    finally:
        await connection.close()


async def test_the_database_is_up_though_its_health_cannot_be_read(database: Database) -> None:
    """A scrape reports it as up, and leaves these gauges out."""
    async with database.transaction() as connection:
        await connection.execute(text("ALTER TABLE purges RENAME TO former_purges"))
    try:
        lines = (await Metrics(database, HandClock(NOW)).exposition()).decode()
    finally:
        async with database.transaction() as connection:
            await connection.execute(text("ALTER TABLE former_purges RENAME TO purges"))
    assert "heloise_database_up 1.0" in lines
    assert "heloise_messages{" in lines
    assert "heloise_database_durable" not in lines


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.postgresql
async def test_the_database_is_up_though_counting_takes_too_long(
    database: Database, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As beside an old transaction: it answers, and no alert says otherwise."""
    monkeypatch.setattr(database_gauges, "READ_SECONDS", 2.0)
    connection = await asyncpg.connect(migrated_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE messages")
            lines = (await Metrics(database, HandClock(NOW)).exposition()).decode()
    finally:
        await connection.close()
    assert "heloise_database_up 1.0" in lines
    assert "heloise_messages{" not in lines


@pytest.mark.postgresql
async def test_a_server_that_refuses_connections_is_down(postgresql: Server) -> None:
    """A scrape says so, and does not fail."""
    url = make_url(await asyncio.to_thread(postgresql.empty)).set(username="nobody")
    database = Database(url.render_as_string(hide_password=False))
    lines = (await Metrics(database, HandClock(NOW)).exposition()).decode()
    assert "heloise_database_up 0.0" in lines
    assert await HealthGauges(database).load(NOW) == {}
    await database.close()
