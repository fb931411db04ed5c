"""The PostgreSQL to measure on, and what the disk under it and SQLite can do at best."""

import asyncio
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg
from sqlalchemy import make_url

from tests.fixtures.postgresql import binaries, postgresql_server

FSYNCS: Final = 200
PAGE: Final = bytes(4096)


@contextmanager
def new_postgresql(server_url: str | None) -> Iterator[str | None]:
    """A new database: on the server that is named, or on the one that the tests bring.

    None where there is neither.
    """
    if server_url is not None:
        with _new_database(server_url) as url:
            yield url
    elif binaries() is not None:
        with postgresql_server() as server:
            yield server.empty()
    else:
        yield None


@contextmanager
def _new_database(server_url: str) -> Iterator[str]:
    name = f"heloise_bench_{secrets.token_hex(6)}"
    asyncio.run(_execute(server_url, f'CREATE DATABASE "{name}"'))
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        asyncio.run(_execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def fsyncs_per_second(folder: Path) -> float:
    """How many writes of a page the disk makes durable in a second, one after another.

    Every acceptance waits for one of these, alone or with others: it is what a commit costs here.
    """
    file = os.open(folder / "fsync", os.O_CREAT | os.O_WRONLY)
    started_at = time.perf_counter()
    for _ in range(FSYNCS):
        os.write(file, PAGE)
        os.fsync(file)
    took_seconds = time.perf_counter() - started_at
    os.close(file)
    return FSYNCS / took_seconds
