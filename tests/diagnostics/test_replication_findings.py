"""Replication slots and prepared transactions, on a server that allows them."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from sqlalchemy import make_url

from app.diagnostics import postgresql_findings
from app.diagnostics.ehlo_advice import AdviceStatus
from app.store.db.database import Database
from tests.diagnostics.test_database_findings import findings, warns
from tests.support.database.postgresql import Server, postgresql_server
from tests.support.waiting import until

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.slow,  # they share a server of their own
    pytest.mark.parametrize("backend", ["postgresql"], indirect=True),
]
CHANGES = {
    "wal_level": "logical",
    "max_wal_senders": "4",
    "max_prepared_transactions": "2",
    "fsync": "on",
    "full_page_writes": "on",
}


@pytest.fixture(scope="module")
def replicating() -> Iterator[Server]:
    """Start a durable server that allows replication."""
    with postgresql_server(changes=CHANGES) as server:
        yield server


@pytest.fixture
def migrated_url(backend: str, replicating: Server) -> Iterator[str]:  # noqa: ARG001 - it is PostgreSQL
    """Return the URL of a migrated database on that server."""
    with replicating.migrated() as url:
        yield url


@pytest.fixture
async def operator(migrated_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open another connection to the database."""
    connection = await asyncpg.connect(migrated_url)
    yield connection
    await connection.close()


async def test_a_durable_server_is_ok(database: Database) -> None:
    """Every check is `ok`."""
    by_check = await findings(database)
    assert {finding.status for finding in by_check.values()} == {AdviceStatus.OK}


@pytest.mark.parametrize(
    "create",
    [
        "pg_create_physical_replication_slot('east', true)",
        "pg_create_logical_replication_slot('east', 'pgoutput')",
    ],
)
async def test_a_slot_that_nobody_reads_is_reported(
    database: Database, operator: asyncpg.Connection, create: str
) -> None:
    """The finding says how much WAL it keeps, and how to drop it."""
    await operator.execute(f"SELECT {create}")
    await operator.execute("CREATE TABLE filling AS SELECT generate_series(1, 10000)")
    finding = (await findings(database))["replication"]
    await operator.execute("DROP TABLE filling; SELECT pg_drop_replication_slot('east')")
    assert warns(finding, "the slot east is not used", "of WAL", "pg_drop_replication_slot('east'")


async def test_a_query_of_a_standby_that_holds_vacuum_back_is_reported(
    database: Database,
    operator: asyncpg.Connection,
    replicating: Server,
    migrated_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The standby tells the primary which rows its queries still need."""
    monkeypatch.setattr(postgresql_findings, "MAX_HELD_TRANSACTIONS", 3)
    options = ("hot_standby_feedback=on", "wal_receiver_status_interval=1s", "cluster_name=east")
    with replicating.standby(*(f"--{option}" for option in options)) as address:
        reader = await until(lambda: _connect(f"{address}/{make_url(migrated_url).database}"))
        await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM tenants")

        async def has_warned() -> bool | None:
            await operator.execute("SELECT txid_current()")
            found = (await findings(database))["replication"]
            return warns(found, "east holds VACUUM back by", "hot_standby_feedback") or None

        assert await until(has_warned)
        await reader.close()


async def _connect(url: str) -> asyncpg.Connection | None:
    """Connect once the server takes connections."""
    try:
        return await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError):
        return None


async def test_a_prepared_transaction_is_reported(
    database: Database, operator: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no process, so only a command ends it."""
    await operator.execute("BEGIN; SELECT txid_current(); PREPARE TRANSACTION 'lost'")
    monkeypatch.setattr(postgresql_findings, "MAX_TRANSACTION_SECONDS", 0)
    finding = (await findings(database))["old_transactions"]
    await operator.execute("ROLLBACK PREPARED 'lost'")
    assert warns(finding, "lost (role heloise) is prepared", "ROLLBACK PREPARED 'lost'")
