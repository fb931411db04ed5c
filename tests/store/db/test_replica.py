"""Reads that may lag go to a standby while it is fresh, and to the primary otherwise."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import asyncpg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound, Unavailable
from app.store.db import replica as replicas
from app.store.db.database import Database
from app.store.db.replica import Replica
from app.store.db.transaction_observer import DatabaseObserver
from tests.support.database.postgresql import Server, postgresql_server
from tests.support.processes.ports import unused_port
from tests.support.waiting import until

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]  # they share servers of their own
CHANGES = {"wal_level": "replica", "max_wal_senders": "8"}


class Counts(DatabaseObserver):
    """Keeps which server served each read."""

    def __init__(self) -> None:
        self.servers: list[str] = []

    def record_replica_read(self, server: str) -> None:
        """Keep it."""
        self.servers.append(server)


class Cluster(NamedTuple):
    """The URLs of a database on a primary and on its standby."""

    primary: str
    standby: str


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start a primary and a standby."""
    with postgresql_server(changes=CHANGES) as server:
        url = server.empty()
        with server.standby() as address:
            yield Cluster(url, f"{address}/{make_url(url).database}")


@pytest.fixture
async def primary(cluster: Cluster) -> AsyncIterator[Database]:
    """Open the database on the primary."""
    database = Database(cluster.primary)
    database.observer = Counts()
    yield database
    await database.close()


@pytest.fixture
async def standby(cluster: Cluster) -> Database:
    """Open the database on the standby, once it takes connections."""
    database = Database(cluster.standby)
    assert await until(lambda: _is_up(database))
    return database


async def _is_up(database: Database) -> bool | None:
    try:
        return await database.read(_is_standby)
    except (Unavailable, asyncpg.PostgresError):
        return None


async def _execute(database: Database, sql: str) -> None:
    async with database.transaction(autocommit=True) as connection:
        await connection.execute(text(sql))


async def _is_standby(connection: AsyncConnection) -> bool:
    return bool((await connection.execute(text("SELECT pg_is_in_recovery()"))).scalar_one())


def _servers(database: Database) -> list[str]:
    assert isinstance(database.observer, Counts)
    return database.observer.servers


async def test_a_fresh_standby_serves(primary: Database, standby: Database) -> None:
    """From the first read on, which waits for a look at its age."""
    replica = Replica(primary, standby, max_lag_seconds=10)
    assert await replica.read(_is_standby)
    assert _servers(primary) == ["standby"]
    await replica.close()


@pytest.mark.parametrize("state", ["40001", "57P01", "53300"])
async def test_a_query_that_replication_cancels_goes_to_the_primary(
    primary: Database, standby: Database, state: str
) -> None:
    """As does one whose server shuts down; the caller sees the answer."""

    async def work(connection: AsyncConnection) -> str:
        if await _is_standby(connection):
            block = f"BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END"
            await connection.execute(text(f"DO $$ {block} $$"))
        return "the primary's"

    replica = Replica(primary, standby, max_lag_seconds=10)
    assert await replica.read(work) == "the primary's"
    assert _servers(primary) == ["primary"]
    await replica.close()


async def test_what_a_standby_does_not_have_yet_is_looked_for_on_the_primary(
    primary: Database, standby: Database
) -> None:
    """Such as a profile that a filter names, made a moment ago."""

    async def work(connection: AsyncConnection) -> str:
        if await _is_standby(connection):
            raise NotFound("profile", "main")
        return "it is here"

    replica = Replica(primary, standby, max_lag_seconds=10)
    assert await replica.read(work) == "it is here"
    await replica.close()


async def test_a_standby_that_is_away_costs_nothing(
    primary: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The primary serves; nobody asks the standby again for some time."""
    monkeypatch.setattr(replicas, "AWAY_SECONDS", 600)
    away = Database(f"postgresql://nobody@127.0.0.1:{unused_port()}/none")
    replica = Replica(primary, away, max_lag_seconds=10)
    for _ in range(3):
        assert not await replica.read(_is_standby)
    assert _servers(primary) == ["primary"] * 3
    await replica.close()


@pytest.mark.parametrize(
    ("user", "query", "reason"),
    [
        ("nobody", "", "password authentication failed"),
        ("heloise", "?sslmode=require&sslnegotiation=perhaps", "HELOISE_DATABASE_READ_URL: "),
    ],
)
async def test_a_standby_that_refuses_connections_is_left(
    primary: Database,
    cluster: Cluster,
    caplog: pytest.LogCaptureFixture,
    user: str,
    query: str,
    reason: str,
) -> None:
    """As after a change of its pg_hba.conf; the log says why, and names the setting."""
    url = make_url(cluster.standby).set(username=user).render_as_string(hide_password=False)
    refusing = Database(f"{url}{query}", setting="HELOISE_DATABASE_READ_URL")
    replica = Replica(primary, refusing, max_lag_seconds=10)
    assert not await replica.read(_is_standby)
    assert reason in caplog.text
    await replica.close()


async def test_a_standby_that_begins_to_refuse_connections_is_left(
    primary: Database, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the last check still counts."""
    monkeypatch.setattr(replicas, "CHECK_INTERVAL_SECONDS", 600)
    await _execute(primary, "CREATE ROLE reader LOGIN PASSWORD 'reader'")
    url = make_url(cluster.standby).set(username="reader", password="reader")
    standby = Database(url.render_as_string(hide_password=False))
    assert await until(lambda: _is_up(standby))
    replica = Replica(primary, standby, max_lag_seconds=600)
    assert await replica.read(_is_standby)
    await _execute(primary, "ALTER ROLE reader NOLOGIN")

    async def is_left() -> bool | None:
        await standby.replace_connections()
        return not await replica.read(_is_standby) or None

    assert await until(is_left)
    await _execute(primary, "DROP ROLE reader")
    await replica.close()


async def test_a_standby_that_lags_too_far_is_left(
    primary: Database, standby: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It serves again once it has what the primary had."""
    monkeypatch.setattr(replicas, "CHECK_SECONDS", 0.5)
    monkeypatch.setattr(replicas, "AWAY_SECONDS", 0)
    replica = Replica(primary, standby, max_lag_seconds=10)
    await _execute(standby, "SELECT pg_wal_replay_pause()")
    await _execute(primary, "CREATE TABLE late ()")
    assert not await replica.read(_is_standby)
    await _execute(standby, "SELECT pg_wal_replay_resume()")

    async def serves() -> bool | None:
        return await replica.read(_is_standby) or None

    assert await until(serves)
    await replica.close()


async def test_a_read_on_a_connection_to_a_slower_standby_goes_to_the_primary(
    primary: Database, standby: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last check asked another one, over another connection of the pool."""
    monkeypatch.setattr(replicas, "CHECK_INTERVAL_SECONDS", 600)
    replica = Replica(primary, standby, max_lag_seconds=600)
    assert await replica.read(_is_standby)
    load_state = replicas._load_state  # noqa: SLF001 - it says which server a read asks

    async def load_slower_state(connection: AsyncConnection) -> replicas._State:
        return (await load_state(connection))._replace(position=0)

    monkeypatch.setattr(replicas, "_load_state", load_slower_state)
    assert not await replica.read(_is_standby)
    assert _servers(primary) == ["standby", "primary"]
    await replica.close()


async def test_a_primary_in_the_place_of_a_standby_counts_as_the_primary(
    primary: Database, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a failover; new connections may find a standby."""
    promoted = Database(cluster.primary)
    replica = Replica(primary, promoted, max_lag_seconds=10)
    assert not await replica.read(_is_standby)
    assert "the server is a primary" in caplog.text
    assert promoted.count_connections() == (0, 0)
    assert _servers(primary) == ["primary"]
    await replica.close()


async def test_a_standby_of_another_primary_is_left(
    postgresql: Server, standby: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Its position says nothing about this one's."""
    primary = Database(await asyncio.to_thread(postgresql.empty))
    replica = Replica(primary, standby, max_lag_seconds=10)
    assert not await replica.read(_is_standby)
    assert "a standby of another primary" in caplog.text
    await replica.close()
    await primary.close()


async def test_without_a_standby_nothing_is_counted(primary: Database) -> None:
    """The primary serves everything, as ever."""
    replica = Replica(primary, None, max_lag_seconds=10)
    assert not await replica.read(_is_standby)
    assert _servers(primary) == []
    await replica.close()
