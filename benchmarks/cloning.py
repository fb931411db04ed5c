"""Rows by the million: copies of those that the service itself has written, made by the database.

A copy has ids of its own and is otherwise what its original is, in every table, whatever its
columns: a queued message becomes a backlog, a delivered one a history. Its ids are older than any
that the service makes, so the newest row is never a copy.
"""

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import asyncpg
from sqlalchemy import Table

from app.store.db.url import sqlite_path
from app.store.tables.core import lanes, messages, profiles, tenants
from app.store.tables.metadata import metadata

NEWEST: Final = "(SELECT max(id) FROM {})"
# 32 hex digits of what stands between {pad} and {end}; `n` is the number of the copy.
PAD_ON_SQLITE: Final = {"pad": "printf('%032x', ", "end": ")"}
PAD_ON_POSTGRESQL: Final = {"pad": "lpad(to_hex(", "end": "), 32, '0')"}
COUNT_ON_SQLITE: Final = (
    "RECURSIVE copy(n) AS (SELECT {} UNION ALL SELECT n + 1 FROM copy WHERE n < {})"
)
COUNT_ON_POSTGRESQL: Final = "copy(n) AS (SELECT generate_series({}::bigint, {}))"
MESSAGE_ID: Final = "'msg_' || {pad}n{end}"
# More than a message has rows in any table where it has several with ids of their own.
OF_ONE: Final = 1000
PROFILE_ID: Final = "'prf_' || {pad}n{end}"


@dataclass(frozen=True, slots=True)
class Copies:
    """Copies of the row of a table for which `where` holds, with these columns computed."""

    table: Table
    where: str
    computed: Mapping[str, str]


def clone_messages(url: str, *, copies: int) -> None:
    """Copy the newest message, with all that belongs to it, so often."""
    if copies > 0:
        there: int = _run(url, "SELECT count(*) FROM messages")
        _copy(url, _of_messages({}), there + 1, there + copies)


def clone_profiles(url: str, *, count: int, tenants_count: int) -> None:
    """Copy the newest message so often, each for a profile of its own in one of so many tenants."""
    tenant = f"'ten_' || {{pad}}1 + n % {tenants_count}{{end}}"
    profile = {
        "id": PROFILE_ID,
        "tenant_id": tenant,
        "name": "'bench-' || n",
        "is_default": "false",
    }
    is_newest = "id = " + NEWEST
    of_newest = "profile_id = " + NEWEST.format("profiles")
    slug = {"id": "'ten_' || {pad}n{end}", "slug": "'bench-' || n"}
    _copy(url, [Copies(tenants, is_newest.format("tenants"), slug)], 1, tenants_count)
    _copy(
        url,
        [
            Copies(profiles, is_newest.format("profiles"), profile),
            Copies(lanes, of_newest, {"profile_id": PROFILE_ID}),
            *_of_messages({"tenant_id": tenant, "profile_id": PROFILE_ID}),
        ],
        1,
        count,
    )


def _of_messages(computed: Mapping[str, str]) -> Iterator[Copies]:
    """What belongs to the newest message: its row, and those of every table that names it."""
    newest = NEWEST.format("messages")
    yield Copies(messages, f"id = {newest}", {"id": MESSAGE_ID, **computed})
    for table in metadata.sorted_tables:
        if "message_id" in table.c:
            number = (
                "n" if table.autoincrement_column is None else f"n * {OF_ONE} + number % {OF_ONE}"
            )
            own = {
                "message_id": MESSAGE_ID,
                "id": f"substr(id, 1, 4) || {{pad}}{number}{{end}}",
                **computed,
            }
            yield Copies(table, f"message_id = {newest}", own)


def _copy(url: str, rows: Iterator[Copies] | list[Copies], first: int, last: int) -> None:
    is_sqlite = sqlite_path(url) is not None
    pad = PAD_ON_SQLITE if is_sqlite else PAD_ON_POSTGRESQL
    numbers = (COUNT_ON_SQLITE if is_sqlite else COUNT_ON_POSTGRESQL).format(first, last)
    for row in rows:
        # What the database numbers by itself it numbers in the copies, too.
        numbered = row.table.autoincrement_column
        names = [column.name for column in row.table.c if column is not numbered]
        values = [row.computed.get(name, name).format(**pad) for name in names]
        _run(
            url,
            f"WITH {numbers} INSERT INTO {row.table.name} ({', '.join(names)})"  # noqa: S608 - names of our own tables
            f" SELECT {', '.join(values)} FROM {row.table.name}, copy WHERE {row.where}",
        )


def tidy(url: str) -> None:
    """What the database would come to do by itself after so many new rows."""
    is_sqlite = sqlite_path(url) is not None
    _run(url, "PRAGMA wal_checkpoint(TRUNCATE)" if is_sqlite else "VACUUM ANALYZE")


def _run(url: str, sql: str) -> int:
    """Run a statement; answers the first value that it has, else 0."""
    path = sqlite_path(url)
    if path is None:
        return asyncio.run(_run_on_postgresql(url, sql))
    connection = sqlite3.connect(path, timeout=60)
    try:
        row = connection.execute(sql).fetchone()
        connection.commit()
    finally:
        connection.close()
    return int(row[0]) if row else 0


async def _run_on_postgresql(url: str, sql: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(sql) or 0)
    finally:
        await connection.close()
