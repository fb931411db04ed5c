"""Reads that may lag go to a standby while it is fresh, and to the primary otherwise.

The standby here is a server of its own, which takes over nothing: what it shows is what it has.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.store.db import replica as replicas
from app.store.db.database import Database
from app.store.db.replica import Replica
from app.store.db.transaction_observer import NoObserver
from tests.support.database.postgresql import Server
from tests.support.processes.ports import unused_port

pytestmark = pytest.mark.postgresql


class Counts(NoObserver):
    """Keeps which server served each read."""

    def __init__(self) -> None:
        self.servers: list[str] = []

    def record_replica_read(self, server: str) -> None:
        """Keep it."""
        self.servers.append(server)


@pytest.fixture
async def primary(postgresql: Server) -> AsyncIterator[Database]:
    """A database, open."""
    database = Database(await asyncio.to_thread(postgresql.empty))
    database.observer = Counts()
    yield database
    await database.close()


@pytest.fixture
async def standby(postgresql: Server) -> Database:
    """Another database of the same server, so that it always has the same position."""
    return Database(await asyncio.to_thread(postgresql.empty))


async def _name(connection: AsyncConnection) -> str:
    return str((await connection.execute(text("SELECT current_database()"))).scalar_one())


def _servers(database: Database) -> list[str]:
    assert isinstance(database.observer, Counts)
    return database.observer.servers


async def test_a_fresh_standby_serves(primary: Database, standby: Database) -> None:
    """From the first read on, which waits for a look at its age."""
    replica = Replica(primary, standby, max_lag_seconds=10)
    assert await replica.read(_name) == await standby.read(_name)
    assert _servers(primary) == ["standby"]
    await replica.close()


@pytest.mark.parametrize("state", ["40001", "57P01", "53300"])
async def test_a_query_that_replication_cancels_goes_to_the_primary(
    primary: Database, standby: Database, state: str
) -> None:
    """As does one whose server shuts down; the caller sees the answer."""
    name = await standby.read(_name)

    async def work(connection: AsyncConnection) -> str:
        if await _name(connection) == name:
            block = f"BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END"
            await connection.execute(text(f"DO $$ {block} $$"))
        return await _name(connection)

    replica = Replica(primary, standby, max_lag_seconds=10)
    assert await replica.read(work) == await primary.read(_name)
    assert _servers(primary) == ["primary"]
    await replica.close()


async def test_what_a_standby_does_not_have_yet_is_looked_for_on_the_primary(
    primary: Database, standby: Database
) -> None:
    """Such as a profile that a filter names, made a moment ago."""
    name = await standby.read(_name)

    async def work(connection: AsyncConnection) -> str:
        if await _name(connection) == name:
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
        assert await replica.read(_name) == await primary.read(_name)
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
    postgresql: Server,
    caplog: pytest.LogCaptureFixture,
    user: str,
    query: str,
    reason: str,
) -> None:
    """As after a change of its pg_hba.conf; the log says why, and names the setting."""
    url = make_url(await asyncio.to_thread(postgresql.empty)).set(username=user)
    address = url.render_as_string(hide_password=False)
    refusing = Database(f"{address}{query}", setting="HELOISE_DATABASE_READ_URL")
    replica = Replica(primary, refusing, max_lag_seconds=10)
    assert await replica.read(_name) == await primary.read(_name)
    assert reason in caplog.text
    await replica.close()


async def test_a_standby_that_begins_to_refuse_connections_is_left(
    primary: Database, standby: Database
) -> None:
    """While the last check still counts."""
    replica = Replica(primary, standby, max_lag_seconds=600)
    name = await replica.read(_name)
    await standby.close()
    async with primary.transaction(autocommit=True) as connection:
        await connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
    assert await replica.read(_name) == await primary.read(_name)
    await replica.close()


async def test_a_standby_that_lags_too_far_is_left(
    primary: Database, standby: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It serves again once it has what the primary had."""
    monkeypatch.setattr(replicas, "CHECK_SECONDS", 0.5)
    monkeypatch.setattr(replicas, "AWAY_SECONDS", 0)
    is_behind = True

    async def load_position(database: Database) -> int:
        return int(database is primary or not is_behind)

    monkeypatch.setattr(replicas, "_load_position", load_position)
    replica = Replica(primary, standby, max_lag_seconds=10)
    assert await replica.read(_name) == await primary.read(_name)
    is_behind = False
    assert await replica.read(_name) == await standby.read(_name)
    assert _servers(primary) == ["primary", "standby"]
    await replica.close()


async def test_without_a_standby_nothing_is_counted(primary: Database) -> None:
    """The primary serves everything, as ever."""
    replica = Replica(primary, None, max_lag_seconds=10)
    assert await replica.read(_name) == await primary.read(_name)
    assert _servers(primary) == []
    await replica.close()
