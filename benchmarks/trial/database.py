"""A database for a trial: where the operator's own is, new, and gone afterwards."""

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg
from sqlalchemy import text

from app.domain.errors import SettingsError
from app.store.db.database import Database
from app.store.db.postgresql_driver import connect
from app.store.db.url import PostgresqlUrl, parse_database_url, replace_database, sqlite_path

NAME: Final = "heloise_bench"
PAGE: Final = bytes(4096)


@contextmanager
def new_database(url: str) -> Iterator[str]:
    """The URL of a new database beside the one that is named, of which nothing is touched.

    On SQLite it is a file in a new folder beside the file; on PostgreSQL a new database on the
    server. Raises SettingsError where there may be none.
    """
    path = sqlite_path(url)
    if path is not None:
        with _new_folder(path.absolute().parent) as folder:
            yield replace_database(url, str(folder / path.name))
    else:
        with _new_postgresql(url) as new_url:
            yield new_url


@contextmanager
def _new_folder(parent: Path) -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=parent)
    except OSError as error:
        raise SettingsError(
            f"HELOISE_DATABASE_URL: cannot create a folder in {parent}: {error.strerror}"
        ) from None
    with folder as name:
        yield Path(name)


@contextmanager
def _new_postgresql(url: str) -> Iterator[str]:
    name = f"{NAME}_{secrets.token_hex(6)}"
    try:
        asyncio.run(_execute(url, f'CREATE DATABASE "{name}"'))
    except asyncpg.InsufficientPrivilegeError:
        raise SettingsError(
            "The user of HELOISE_DATABASE_URL cannot create the database to measure in: grant it"
            " CREATEDB (ALTER ROLE … CREATEDB), or use another user"
        ) from None
    except (OSError, asyncpg.PostgresError) as error:
        raise SettingsError(
            f"HELOISE_DATABASE_URL: PostgreSQL refuses the connection: {error}"
        ) from None
    try:
        yield replace_database(url, name)
    finally:
        asyncio.run(_execute(url, f'DROP DATABASE "{name}" WITH (FORCE)'))


async def _execute(url: str, sql: str) -> None:
    parsed = parse_database_url(url)
    assert isinstance(parsed, PostgresqlUrl)  # noqa: S101 - as the caller has seen
    connection = await connect(parsed)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def fsyncs_per_second(folder: Path, *, count: int) -> float:
    """How many writes of a page the disk makes durable in a second, one after another."""
    path = folder / "fsync"
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    started_at = time.monotonic()
    for _ in range(count):
        os.write(file, PAGE)
        os.fsync(file)
    took_seconds = time.monotonic() - started_at
    os.close(file)
    path.unlink()
    return count / took_seconds


def commits_per_second(url: str, *, count: int) -> float:
    """How many transactions of one small row are committed in a second, one after another.

    The database has to be a new one. Every acceptance waits for a commit, alone or with others.
    """
    return asyncio.run(_commits_per_second(url, count))


async def _commits_per_second(url: str, count: int) -> float:
    database = Database(url, pool_size=1)
    try:
        async with database.transaction() as connection:
            await connection.execute(text("CREATE TABLE trial (number INTEGER)"))
        started_at = time.monotonic()
        for number in range(count):
            async with database.transaction() as connection:
                await connection.execute(
                    text("INSERT INTO trial VALUES (:number)"), {"number": number}
                )
        took_seconds = time.monotonic() - started_at
        async with database.transaction() as connection:
            await connection.execute(text("DROP TABLE trial"))
    finally:
        await database.close()
    return count / took_seconds
