"""The PostgreSQL to measure on."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import asyncpg
from sqlalchemy import make_url

from benchmarks.machine import parent_of
from tests.support.database.postgresql import binaries, postgresql_server

CHECKPOINTER: Final = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"


@contextmanager
def new_databases(server_url: str | None) -> Iterator[Callable[[], str] | None]:
    """Makes a new database, and answers its URL; gone when the block ends.

    It is on the server that is named, else on one that is started here and calls fsync as an
    operator's does; None without either.
    """
    if server_url is not None:
        with _databases_on(server_url) as new:
            yield new
    elif binaries() is not None:
        with postgresql_server(is_durable=True) as server:
            yield server.empty
    else:
        yield None


@contextmanager
def _databases_on(server_url: str) -> Iterator[Callable[[], str]]:
    names: list[str] = []

    def new() -> str:
        name = f"heloise_bench_{secrets.token_hex(6)}"
        execute(server_url, f'CREATE DATABASE "{name}"')
        names.append(name)
        return make_url(server_url).set(database=name).render_as_string(hide_password=False)

    try:
        yield new
    finally:
        for name in names:
            execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


def execute(url: str, sql: str) -> Any:  # noqa: ANN401 - a value is of any type
    """Run a statement on PostgreSQL; answers the first value that it has."""

    async def run() -> Any:  # noqa: ANN401 - as above
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(run())


def postmaster_pid(url: str) -> int | None:
    """The id of PostgreSQL's first process; None where it is on another machine."""
    with suppress(OSError):
        pid = int(execute(url, CHECKPOINTER))
        if Path(f"/proc/{pid}/comm").read_text().startswith("postgres"):
            return parent_of(pid)
    return None
