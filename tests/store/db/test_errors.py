"""Faults of the database at its one door: what may pass is Unavailable, and it passes by itself."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import Conflict, Unavailable
from app.store.db.database import Database
from app.store.db.errors import CommitUnknown, RolledBack
from tests.support.database.postgresql import Server

ROWS = "SELECT count(*) FROM kept"
RAISE = "DO $$ BEGIN RAISE EXCEPTION 'so it is' USING ERRCODE = '{}'; END $$"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database with a table of two rows; on SQLite it waits little for locks."""
    short = f"{database_url}?timeout=0.1" if database_url.startswith("sqlite") else database_url
    database = Database(short, pool_size=5)
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE kept (id integer PRIMARY KEY, note text)"))
        await connection.execute(text("INSERT INTO kept VALUES (1, ''), (2, '')"))
    yield database
    await database.close()


async def _count(database: Database) -> int:
    async with database.reading() as connection:
        count: int = (await connection.execute(text(ROWS))).scalar_one()
        return count


async def _execute(database: Database, *statements: str) -> None:
    async with database.transaction() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def _read(database: Database, query: str) -> Any:
    async with database.reading() as connection:
        return (await connection.execute(text(query))).scalar_one()


async def _backend(database: Database) -> int:
    return int(await _read(database, "SELECT pg_backend_pid()"))


async def _reads_only(database: Database) -> bool:
    return bool(await _read(database, "SHOW transaction_read_only") == "on")


async def _touch(connection: AsyncConnection, row: int) -> None:
    await connection.execute(text(f"UPDATE kept SET note = note || 'x' WHERE id = {row}"))  # noqa: S608 - a number


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "state", ["40001", "40P01", "57P01", "57014", "08006", "53100", "53300", "55P03", "25006"]
)
async def test_a_passing_fault_is_unavailable(database: Database, state: str) -> None:
    """By its SQLSTATE, in whatever statement the server answers with it."""
    with pytest.raises(Unavailable) as raised:
        await _execute(database, "INSERT INTO kept VALUES (3, '')", RAISE.format(state))
    assert isinstance(raised.value, RolledBack) is state.startswith("40")
    assert await _count(database) == 2


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("state", "is_left"),
    [
        ("57P01", True),
        ("57P02", True),
        ("57P03", True),
        ("08006", True),
        ("25006", True),
        ("57014", False),
        ("53100", False),
        ("55P03", False),
        ("40001", False),
    ],
)
async def test_a_connection_that_is_of_no_more_use_is_left(
    database: Database, state: str, *, is_left: bool
) -> None:
    """The next statement goes by another one, unless the fault was the statement's alone."""
    before = await _backend(database)
    with pytest.raises(Unavailable):
        await _execute(database, RAISE.format(state))
    assert (await _backend(database) != before) is is_left


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("state", "is_known"), [("25006", True), ("53100", True), ("08006", False)]
)
async def test_what_the_server_refused_was_not_written(
    database: Database, state: str, *, is_known: bool
) -> None:
    """Where it answered, nothing is in doubt, in a statement that is its own transaction too."""
    with pytest.raises(Unavailable) as raised:
        async with database.transaction(autocommit=True) as connection:
            await connection.execute(text(RAISE.format(state)))
    assert isinstance(raised.value, CommitUnknown) is not is_known


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_a_server_that_refuses_to_connect_is_away(database_url: str) -> None:
    """The database may be restored, and a password changed, while processes run."""
    missing = make_url(database_url).set(database="missing")
    database = Database(missing.render_as_string(hide_password=False))
    with pytest.raises(Unavailable):
        await _count(database)
    await database.close()


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("notices", ["a write", "readiness"])
async def test_a_server_that_is_no_primary_any_more_is_left(
    database: Database, database_url: str, postgresql: Server, notices: str
) -> None:
    """One write fails, the next is done; who asks for readiness has it left without a write."""
    async with postgresql.demoted(database_url):
        while not await _reads_only(database):  # the server tells its sessions one by one
            pass
        if notices == "readiness":
            assert not await database.is_writable()
        else:
            with pytest.raises(Unavailable):
                await _execute(database, "DELETE FROM kept")
        await _execute(database, "DELETE FROM kept")
        assert await database.is_writable()


async def test_a_fault_of_ours_stays_what_it_is(database: Database) -> None:
    """A broken constraint is no fault of the database, nor is the block's own refusal."""

    async def refuse(connection: AsyncConnection) -> None:
        await connection.execute(text("INSERT INTO kept VALUES (3, '')"))
        raise Conflict("no", "Not this one.")

    with pytest.raises(DBAPIError):
        await _execute(database, "INSERT INTO kept VALUES (1, '')")
    with pytest.raises(Conflict):
        await database.retry_transaction(refuse)
    assert await _count(database) == 2


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_killed_connections_are_replaced_before_they_are_used(database: Database) -> None:
    """All of the pool's at once, and nobody notices: a dead one fails no transaction."""

    async def hold(barrier: asyncio.Barrier) -> int:
        async with database.reading() as connection:
            backend_pid: int = (
                await connection.execute(text("SELECT pg_backend_pid()"))
            ).scalar_one()
            await barrier.wait()
            return backend_pid

    async def five() -> set[int]:
        barrier = asyncio.Barrier(5)
        return set(await asyncio.gather(*(hold(barrier) for _ in range(5))))

    dead = await five()
    async with database.transaction() as connection:
        mine = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> :mine"
                " AND datname = current_database()"
            ),
            {"mine": mine},
        )
    assert len(dead) == len(await five()) == 5
    assert not (await five() & dead) - {mine}


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_a_deadlock_is_repeated_and_both_go_through(database: Database) -> None:
    """Two transactions take two rows in opposite order: one is rolled back, and done again.

    Once more, if it takes its first row before the other one has woken up.
    """
    barrier, runs = asyncio.Barrier(2), list[tuple[int, int]]()

    async def cross(first: int, second: int) -> None:
        async def work(connection: AsyncConnection) -> None:
            is_first_time = (first, second) not in runs
            runs.append((first, second))
            await _touch(connection, first)
            if is_first_time:
                await barrier.wait()
            await _touch(connection, second)

        await database.retry_transaction(work)

    await asyncio.gather(cross(1, 2), cross(2, 1))
    async with database.reading() as connection:
        notes = (await connection.execute(text("SELECT note FROM kept"))).scalars().all()
    assert (len(runs) > 2, notes) == (True, ["xx", "xx"])


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_a_lock_that_lasts_is_unavailable_and_passes(
    database: Database, tmp_path: Path
) -> None:
    """Beyond the time that the URL names; reads wait for no lock, and afterwards all is well."""
    other = sqlite3.connect(tmp_path / "heloise.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(3):
        with pytest.raises(Unavailable):
            await _execute(database, "DELETE FROM kept")
    assert await _count(database) == 2
    other.execute("ROLLBACK")
    other.close()
    await _execute(database, "DELETE FROM kept")
    assert await _count(database) == 0


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_a_full_disk_is_unavailable_and_passes(database: Database) -> None:
    """SQLITE_FULL in the middle of a transaction undoes all of it."""
    async with database.transaction() as connection:
        pages = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
        await connection.execute(text(f"PRAGMA max_page_count = {pages}"))
    small, large = "INSERT INTO kept VALUES (3, '')", "INSERT INTO kept VALUES (4, zeroblob(1e5))"
    with pytest.raises(Unavailable):
        await _execute(database, small, large)
    assert await _count(database) == 2
    await _execute(database, f"PRAGMA max_page_count = {pages + 100}")
    await _execute(database, large)
    assert await _count(database) == 3
