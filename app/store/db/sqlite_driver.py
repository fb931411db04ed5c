"""Run each SQLite statement in one turn of the connection's thread.

aiosqlite takes four turns: create a cursor, execute, fetch, close. Each costs more than most
statements do. So a transaction begins in the turn of its first statement, and the end of a
read-only transaction is not awaited.
"""

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext, suppress
from typing import Any, Final

from sqlalchemy import URL, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_cursor,
    AsyncAdapt_aiosqlite_dbapi,
    SQLiteDialect_aiosqlite,
)
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from app import tracing
from app.store.db.url import SQLITE_DRIVER, SqliteUrl

READ: Final = "BEGIN"
WRITE: Final = "BEGIN IMMEDIATE"
# The execution option that makes each statement its own transaction, in the same turn.
AUTOCOMMIT: Final = "heloise_autocommit"
# Ends each statement of a text with several, each with its own rows.
STATEMENT_END: Final = ";\x1e\n"
# Files that hold mail are readable only by their owner.
PRIVATE_MODE: Final = 0o600


def create_private_file(path: str) -> None:
    """Create the database file before SQLite would create it readable for everybody.

    SQLite's journals inherit the mode. If the file cannot be created, SQLite reports the reason.
    """
    with suppress(OSError):  # it exists, or SQLite fails to create it as well
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_MODE))


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    """The result of a statement, already fetched."""

    __slots__ = ("_description", "_last_row_id", "_row_count", "arraysize")

    def __init__(self, adapt_connection: "_Connection") -> None:
        self._adapt_connection: _Connection = adapt_connection
        self._connection = adapt_connection._connection  # noqa: SLF001 - as SQLAlchemy's own cursors
        self._rows = deque[Any]()
        self._description: Any = None
        self._row_count, self._last_row_id, self.arraysize = -1, 0, 1

    @property
    def description(self) -> Any:  # noqa: ANN401 - as PEP 249 has it
        return self._description

    @property
    def rowcount(self) -> int:
        return self._row_count

    @property
    def lastrowid(self) -> int:
        return self._last_row_id

    def close(self) -> None:
        self._rows.clear()

    async def _async_soft_close(self) -> None:
        """Do nothing: the rows are already fetched."""

    async def _execute_async(self, operation: Any, parameters: Any) -> None:  # noqa: ANN401 - as above
        if STATEMENT_END in operation:
            await self._run(_execute_each, operation.split(STATEMENT_END)[:-1], parameters)
        else:
            await self._run(sqlite3.Connection.execute, operation, parameters or ())

    async def _executemany_async(self, operation: Any, seq_of_parameters: Any) -> None:  # noqa: ANN401 - as above
        await self._run(sqlite3.Connection.executemany, operation, seq_of_parameters)

    async def _run(self, execute: Callable[..., sqlite3.Cursor], *arguments: Any) -> None:  # noqa: ANN401 - as above
        connection, begin = self._connection, self._adapt_connection.take_begin()
        is_alone = self._adapt_connection.autocommit

        def run() -> tuple[Any, list[Any], int, int]:
            driver_connection = connection._conn  # noqa: SLF001 - aiosqlite's is in its thread's hands
            if begin is not None:
                driver_connection.execute(begin)
            with (
                driver_connection if is_alone else nullcontext(),
                closing(execute(driver_connection, *arguments)) as cursor,
            ):
                rows = [] if cursor.description is None else cursor.fetchall()
                return cursor.description, rows, cursor.rowcount, cursor.lastrowid or 0

        result = await connection._execute(run)  # noqa: SLF001 - there is no other way into its thread
        self._description, rows, self._row_count, self._last_row_id = result
        self._rows = deque(rows)


def _execute_each(
    connection: sqlite3.Connection, statements: Sequence[str], rows: Sequence[Sequence[Any]]
) -> sqlite3.Cursor:
    cursor = connection.cursor()
    for statement, of_statement in zip(statements, rows, strict=True):
        cursor.executemany(statement, of_statement)
    return cursor


class _Connection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ("_begin", "_only_reads", "autocommit")

    _cursor_cls: type[AsyncAdapt_aiosqlite_cursor] = _Cursor

    def __init__(self, driver: "_Driver", connection: Any) -> None:  # noqa: ANN401 - as above
        super().__init__(driver, connection)
        self._begin: str | None = None
        self._only_reads = self.autocommit = False

    def begin_with(self, statement: str, *, autocommit: bool) -> None:
        """Execute this before the next statement, or each; a plain `BEGIN` is read-only."""
        self._begin, self._only_reads = statement, statement == READ
        self.autocommit = autocommit

    def take_begin(self) -> str | None:
        """Return the pending BEGIN statement, if any."""
        begin = self._begin
        if not self.autocommit:
            self._begin = None
        return begin

    def commit(self) -> None:
        self._end(super().commit)

    def rollback(self) -> None:
        self._end(super().rollback)

    def _end(self, end: Callable[[], None]) -> None:
        if self.take_begin() is not None:
            return
        if self._only_reads and (reader := self._connection._connection) is not None:  # noqa: SLF001 - as above
            # The thread runs the connection's calls in order.
            self._connection._tx.put_nowait((None, reader.rollback))  # noqa: SLF001 - as above
        else:
            end()


class _Driver(AsyncAdapt_aiosqlite_dbapi):
    def connect(self, *arguments: Any, **options: Any) -> AsyncAdapt_aiosqlite_connection:  # noqa: ANN401 - as above
        adapted_connection = super().connect(*arguments, **options)
        return _Connection(self, adapted_connection._connection)  # noqa: SLF001 - as above


class Dialect(SQLiteDialect_aiosqlite):
    """SQLAlchemy's SQLite dialect with this driver."""

    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> AsyncAdapt_aiosqlite_dbapi:
        """Return aiosqlite with this module's connections."""
        return _Driver(__import__("aiosqlite"), sqlite3)


registry.register(SQLITE_DRIVER.replace("+", "."), __name__, "Dialect")


def create_engine(
    url: SqliteUrl,
    *,
    pool_size: int,
    begin: str,
    **options: Any,  # noqa: ANN401 - as SQLAlchemy has them
) -> AsyncEngine:
    """Create an engine whose transactions begin with this statement; with `READ`, it only reads."""
    path = str(url.path)
    engine = create_async_engine(
        URL.create(SQLITE_DRIVER, database=path),
        pool_size=pool_size,
        max_overflow=0,
        # A connection ends its own transaction; another rollback would cost a turn of its thread.
        pool_reset_on_return=None,
        # None leaves BEGIN to us: the driver's own comes too late to cover the first read.
        connect_args={"isolation_level": None, "timeout": url.busy_timeout_seconds},
        **options,
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def make_private(*_: object) -> None:
        create_private_file(path)

    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection: Any, _: ConnectionPoolEntry) -> None:  # noqa: ANN401 - the adapter has no public type
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        if begin == READ:  # its end is not awaited
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin_transaction(connection: Any) -> None:  # noqa: ANN401 - as above
        autocommit = connection.get_execution_options().get(AUTOCOMMIT, False)
        connection.connection.dbapi_connection.begin_with(begin, autocommit=autocommit)

    tracing.trace_statements(engine.sync_engine)
    return engine
