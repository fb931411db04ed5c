"""Transactions on SQLite: they begin with their first statement, and those that read just end."""

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import Unavailable
from app.store.db.database import Database

COUNT = text("SELECT count(*) FROM kept")
INSERT = text("INSERT INTO kept VALUES (NULL)")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A new file with one empty table."""
    database = Database(f"sqlite:///{tmp_path / 'heloise.db'}")
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE kept (id integer PRIMARY KEY)"))
    yield database
    await database.close()


def _modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def _count(connection: AsyncConnection) -> int:
    count: int = (await connection.execute(COUNT)).scalar_one()
    return count


async def _insert(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(INSERT)


async def test_its_files_are_their_owners_alone(tmp_path: Path) -> None:
    """Whatever the umask: the file, its journals, and the lock of who delivers from it."""
    former = os.umask(0)
    try:
        database = Database(f"sqlite:///{tmp_path / 'heloise.db'}")
        async with database.transaction() as connection:
            await connection.execute(text("CREATE TABLE kept (id integer PRIMARY KEY)"))
        with database.lock_delivery():
            modes = await asyncio.to_thread(_modes, tmp_path)
        await database.close()
    finally:
        os.umask(former)
    suffixes = ("", "-wal", "-shm", ".delivery")
    assert modes == {f"heloise.db{suffix}": 0o600 for suffix in suffixes}


async def test_a_read_sees_what_stood_when_it_began_and_the_next_one_sees_more(
    database: Database,
) -> None:
    """However many follow one another: none is left open."""
    for before in range(10):
        async with database.reading() as connection:
            assert await _count(connection) == before
            await _insert(database)
            assert await _count(connection) == before
        async with database.reading() as connection:
            assert await _count(connection) == before + 1


async def test_what_reads_cannot_write(database: Database) -> None:
    """Its end is not waited for, so nothing of it may be lost."""
    with pytest.raises(Unavailable):
        async with database.reading() as connection:
            await connection.execute(INSERT)
    async with database.reading() as connection:
        assert await _count(connection) == 0


async def test_a_transaction_has_the_file_from_its_first_statement_on(
    database: Database, tmp_path: Path
) -> None:
    """Even where that reads: what it finds is still so when it writes."""
    other = sqlite3.connect(tmp_path / "heloise.db", isolation_level=None, timeout=0)
    async with database.transaction() as connection:
        await _count(connection)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.close()


async def test_a_transaction_without_a_statement_is_none(database: Database) -> None:
    """The next one begins as if it had not been, whether it ended well or not."""
    async with database.transaction():
        pass
    with pytest.raises(LookupError):
        async with database.transaction():
            raise LookupError
    async with database.reading():
        pass
    await _insert(database)
    async with database.reading() as connection:
        assert await _count(connection) == 1


async def test_what_raises_leaves_nothing_behind(database: Database) -> None:
    """Neither what was written, nor an open transaction."""

    async def fail_writing() -> None:
        async with database.transaction() as connection:
            await connection.execute(INSERT)
            raise LookupError

    async def fail_reading() -> None:
        async with database.reading() as connection:
            await _count(connection)
            raise LookupError

    for fail in (fail_writing, fail_reading):
        with pytest.raises(LookupError):
            await fail()
    async with database.reading() as connection:
        assert await _count(connection) == 0


async def test_with_autocommit_a_statement_is_committed_once_it_has_run(database: Database) -> None:
    """Whatever becomes of the block; what fails leaves nothing, and the next one begins anew."""

    async def fail_afterwards() -> None:
        async with database.transaction(autocommit=True) as connection:
            await connection.execute(INSERT)
            async with database.reading() as other:
                assert await _count(other) == 1
            raise LookupError

    with pytest.raises(LookupError):
        await fail_afterwards()
    with pytest.raises(IntegrityError):
        async with database.transaction(autocommit=True) as connection:
            await connection.execute(text("INSERT INTO kept VALUES (7), (7)"))
    async with database.transaction(autocommit=True) as connection:
        await connection.execute(INSERT)
    await _insert(database)
    async with database.reading() as connection:
        assert await _count(connection) == 3
