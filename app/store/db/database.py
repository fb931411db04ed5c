"""Open databases and transactions, notify workers, and hide dialect differences."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic_core import to_json
from sqlalchemy import URL, Dialect, ExceptionContext, event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.util import await_only

from app import tracing
from app.domain.clock import monotonic_seconds
from app.domain.errors import SettingsError, Unavailable
from app.store.db import postgresql_driver, sqlite_driver
from app.store.db.announcer import Announcer
from app.store.db.backup import is_backup
from app.store.db.errors import (
    DISCONNECTED,
    CommitUnknown,
    Refused,
    RolledBack,
    database_faults,
    name_fault,
    sqlstate,
)
from app.store.db.listener import IS_WRITABLE, WAKE_CHANNEL, Listener, SessionWatch
from app.store.db.postgresql_driver import CONNECT_SECONDS, DATABASE_SETTING
from app.store.db.transaction_observer import DatabaseObserver, take_finished
from app.store.db.url import SQLITE_DRIVER, PostgresqlUrl, SqliteUrl, parse_database_url

log = logging.getLogger(__name__)
T = TypeVar("T")

# A role sees what its own sessions wait for.
_IS_REPLICATION_STUCK: Final = text(
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = current_user"
    " AND wait_event = 'SyncRep' AND query_start < clock_timestamp() - interval '5 seconds')"
)
# Every statement of the queue finds its rows by index. While tables are small and never analyzed,
# the planner prefers to scan and hash them, and keeps that plan when they have grown. Ways that are
# off have such a high estimate that it would compile the statement.
PLANNER_SETTINGS: Final[Mapping[str, str]] = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
_NOTIFY: Final = text(f"NOTIFY {WAKE_CHANNEL}")
_ALLOW_SCANS: Final = text(
    "SELECT "
    + ", ".join(f"set_config('{name}', 'on', true)" for name in PLANNER_SETTINGS if name != "jit")
)
_SIZE_POSTGRESQL: Final = text("SELECT pg_database_size(current_database())")
_SIZE_SQLITE: Final = text(
    "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
)
POOL_WAIT_SECONDS: Final = 10.0
MAX_RETRIES: Final = 3
# Unnamed statements are prepared at each execution, in the same message.
UNNAMED_IN_DRIVER: Final[Mapping[str, Any]] = {"statement_cache_size": 0}
UNNAMED: Final[Mapping[str, Any]] = {
    **UNNAMED_IN_DRIVER,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}


class Database:
    """A database: opens transactions and announces new work.

    The URL may set how long SQLite waits for another process's lock, in seconds:
    `sqlite:///file.db?timeout=2`. On PostgreSQL, `answer_seconds` limits connecting and each
    statement; by default a statement has no limit. Errors name the `setting` of the URL.
    """

    def __init__(
        self,
        url: str,
        *,
        setting: str = DATABASE_SETTING,
        pool_size: int = 10,
        answer_seconds: float | None = None,
    ) -> None:
        self._setting = setting
        self._url = parse_database_url(url)
        self.observer = DatabaseObserver()
        self._listeners: list[Callable[[], None]] = []
        self._announcer = Announcer(self._notify)
        self._is_pooled: bool | None = None
        self._connect_seconds = answer_seconds or CONNECT_SECONDS
        if isinstance(self._url, PostgresqlUrl):
            self._writer = _postgresql_engine(
                partial(self._connect, answer_seconds=answer_seconds),
                pool_size=pool_size,
                is_pooled=self.is_pooled,
                server_settings=_build_server_settings(answer_seconds),
            )
            # Under READ COMMITTED each statement sees what was committed before it, in a
            # transaction or not: autocommit saves the round trips of BEGIN and COMMIT.
            self._autocommit = self._writer.execution_options(isolation_level="AUTOCOMMIT")
            self._reader = self._autocommit
        else:
            self._writer = _sqlite_engine(self._url, pool_size=1, begin=sqlite_driver.WRITE)
            self._autocommit = self._writer.execution_options(**{sqlite_driver.AUTOCOMMIT: True})
            self._reader = _sqlite_engine(self._url, pool_size=4, begin=sqlite_driver.READ)

    @property
    def is_postgresql(self) -> bool:
        """Whether the database is PostgreSQL; otherwise it is SQLite."""
        return isinstance(self._url, PostgresqlUrl)

    @asynccontextmanager
    async def transaction(
        self, *, announce: bool = False, autocommit: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that commits at the block's end, or rolls back on errors.

        With `announce`, wakes all delivering processes after the commit: this one directly, others
        by NOTIFY (PostgreSQL), soon. With `autocommit`, each statement is its own transaction,
        which saves the round trips of BEGIN and COMMIT.

        Raises Unavailable if the database is locked, full or away; nothing is half done. Raises
        RolledBack if you can repeat it at once, CommitUnknown if it may have committed.
        """
        engine = self._autocommit if autocommit else self._writer
        started_seconds = monotonic_seconds()
        with self._counting_faults(), database_faults():
            async with engine.connect() as connection:  # rolls back what is not committed
                take_finished(connection)  # of a transaction that was rolled back
                await connection.begin()
                with self._committing() if autocommit else nullcontext():
                    yield connection
                with self._committing():
                    await connection.commit()
                if finished := take_finished(connection):
                    self.observer.record_finished(finished)
        self.observer.record_transaction(monotonic_seconds() - started_seconds)
        if announce:
            self.wake()
            if self.is_postgresql:
                self._announcer.announce()

    async def _notify(self) -> None:
        with database_faults():
            async with self._autocommit.begin() as connection:
                await connection.execute(_NOTIFY)

    @contextmanager
    def _counting_faults(self) -> Iterator[None]:
        try:
            yield
        except Unavailable as error:
            if (kind := name_fault(error)) is not None:
                self.observer.record_database_error(kind)
            raise

    @contextmanager
    def _committing(self) -> Iterator[None]:
        """Turn faults that leave the commit in doubt into CommitUnknown."""
        try:
            with database_faults():
                yield
        except Refused:
            raise
        except Unavailable as error:
            if self.is_postgresql:
                raise CommitUnknown from error
            raise

    async def retry_transaction(
        self,
        work: Callable[[AsyncConnection], Awaitable[T]],
        *,
        announce: bool = False,
        autocommit: bool = False,
    ) -> T:
        """Run `work` in a transaction, and repeat it after a rollback for another.

        `work` must be repeatable. Raises what `transaction` raises; RolledBack after the last
        retry.
        """
        for _ in range(MAX_RETRIES):
            with suppress(RolledBack):
                async with self.transaction(announce=announce, autocommit=autocommit) as connection:
                    return await work(connection)
        async with self.transaction(announce=announce, autocommit=autocommit) as connection:
            return await work(connection)

    @asynccontextmanager
    async def reading(self, *, is_analytic: bool = False) -> AsyncIterator[AsyncConnection]:
        """Open a connection for reads; on SQLite it waits for no writer.

        On PostgreSQL each statement sees the latest commits, on SQLite all see those of the first.
        With `is_analytic`, PostgreSQL may scan and hash whole tables.
        """
        is_analytic = is_analytic and self.is_postgresql
        engine = self._writer if is_analytic else self._reader  # settings need a transaction
        with self._counting_faults(), database_faults():
            async with engine.begin() as connection:
                if is_analytic:
                    await connection.execute(_ALLOW_SCANS)
                yield connection

    async def read(
        self, work: Callable[[AsyncConnection], Awaitable[T]], *, is_analytic: bool = False
    ) -> T:
        """Run `work` on a connection for reads; raises what `reading` raises."""
        async with self.reading(is_analytic=is_analytic) as connection:
            return await work(connection)

    async def is_pooled(self) -> bool:
        """Whether a pooler such as pgbouncer is in between; asks once.

        A pooler gives its clients made-up process ids. In transaction mode each transaction may use
        another server process, so prepared statements and LISTEN do not work.
        """
        if self._is_pooled is None:
            connection = await self._connect(**UNNAMED_IN_DRIVER)
            try:
                server_pid = await connection.fetchval(
                    "SELECT pg_backend_pid()", timeout=self._connect_seconds
                )
                self._is_pooled = bool(server_pid != connection.get_server_pid())
            finally:
                connection.terminate()
        return self._is_pooled

    async def _connect(self, **named: Any) -> Any:  # noqa: ANN401 - as asyncpg has it
        assert isinstance(self._url, PostgresqlUrl)  # noqa: S101 - SQLite has nobody to listen to
        return await postgresql_driver.connect(
            self._url, setting=self._setting, connect_seconds=self._connect_seconds, **named
        )

    async def is_writable(self) -> bool:
        """Whether the server accepts writes; if not, replace all connections.

        After a failover an open connection may lead to the former primary. Raises Unavailable.
        """
        if not self.is_postgresql:
            return True
        async with self.reading() as connection:
            is_writable = (await connection.execute(text(IS_WRITABLE))).scalar_one()
        if not is_writable:
            await self.replace_connections()
        return bool(is_writable)

    async def replace_connections(self) -> None:
        """Close every idle connection, since the servers may have changed their roles."""
        await self._writer.dispose()

    async def is_replication_stuck(self) -> bool:
        """Whether a commit has waited for a synchronous standby for seconds; raises Unavailable."""
        if not self.is_postgresql:
            return False
        async with self.reading() as connection:
            return bool((await connection.execute(_IS_REPLICATION_STUCK)).scalar_one())

    def wake(self) -> None:
        """Wake this process's delivery: there may be work."""
        for listener in self._listeners:
            listener()

    @asynccontextmanager
    async def listening(
        self, wake: Callable[[], None], watch: SessionWatch | None = None
    ) -> AsyncIterator[None]:
        """Call `wake` after each announcement of any process, while the block runs.

        On PostgreSQL, `watch` uses the session of the connection that listens.
        """
        self._listeners.append(wake)
        listener = Listener(self._connect, self.is_pooled, wake=wake, watch=watch or SessionWatch())
        task = asyncio.create_task(listener.run()) if self.is_postgresql else None
        try:
            yield
        finally:
            self._listeners.remove(wake)
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    @contextmanager
    def lock_delivery(self) -> Iterator[bool]:
        """Keep other processes from delivering from this SQLite file, while the block runs.

        Yields False for PostgreSQL, which allows any number of delivering processes. Raises
        SettingsError if another process has the lock; a dead process holds none. Raises it too if
        the file is a backup whose messages nobody has held.
        """
        if not isinstance(self._url, SqliteUrl):
            yield False
            return
        from filelock import FileLock, Timeout

        path = self._url.path
        if is_backup(path):
            raise SettingsError(
                f"{path} is a backup, and what waits in it may have been sent since: run `heloise"
                " hold` before anything delivers from it"
            )
        lock = FileLock(f"{path}.delivery", mode=sqlite_driver.PRIVATE_MODE, blocking=False)
        try:
            lock.acquire()
        except Timeout:
            raise SettingsError(
                f"another process already delivers from {path}, and SQLite allows only one: stop"
                " it, start this one with `heloise serve --no-delivery`, or use PostgreSQL"
            ) from None
        try:
            yield True
        finally:
            lock.release()

    def count_connections(self) -> tuple[int, int]:
        """Count the connections of the pools in use, and those kept open."""
        pools = {engine.sync_engine.pool for engine in (self._writer, self._reader)}
        counted = [pool for pool in pools if isinstance(pool, QueuePool)]
        return (
            sum(pool.checkedout() for pool in counted),
            sum(pool.checkedin() for pool in counted),
        )

    @property
    def file_path(self) -> Path | None:
        """The file of SQLite; None for PostgreSQL."""
        return self._url.path if isinstance(self._url, SqliteUrl) else None

    async def close(self) -> None:
        """Announce what is due, and close every connection."""
        await self._announcer.close()
        await self._writer.dispose()
        if not self.is_postgresql:  # otherwise both are one pool
            await self._reader.dispose()


def count_most_connections(pool_size: int) -> int:
    """Count the connections that a process opens to PostgreSQL at most: pool and LISTEN."""
    return 2 * pool_size + 1


async def load_size_bytes(connection: AsyncConnection) -> int:
    """Load the size of the database, on the disk of its server."""
    is_postgresql = connection.dialect.name == "postgresql"
    statement = _SIZE_POSTGRESQL if is_postgresql else _SIZE_SQLITE
    return int((await connection.execute(statement)).scalar_one())


def _json(value: object) -> str:
    """Serialize as the standard library does, in a tenth of the time."""
    return to_json(value).decode()


def _build_server_settings(answer_seconds: float | None) -> dict[str, str]:
    """Build the parameters of sessions; the server ends statements that nobody waits for."""
    timeout = (
        {} if answer_seconds is None else {"statement_timeout": f"{answer_seconds * 1000:.0f}"}
    )
    return {**PLANNER_SETTINGS, **timeout}


def _postgresql_engine(
    connect: Callable[..., Awaitable[Any]],
    *,
    pool_size: int,
    is_pooled: Callable[[], Awaitable[bool]],
    server_settings: Mapping[str, str],
) -> AsyncEngine:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_WAIT_SECONDS,
        json_serializer=_json,
        connect_args={"async_creator_fn": connect},
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def set_up(
        _dialect: Dialect, _record: ConnectionPoolEntry, _words: list[Any], named: dict[str, Any]
    ) -> None:
        if await_only(is_pooled()):  # it refuses settings, and prepared statements do not work
            named |= UNNAMED
        else:
            named["server_settings"] = server_settings

    @event.listens_for(engine.sync_engine, "checkout")
    def replace_dead(connection: Any, *_: object) -> None:  # noqa: ANN401 - the adapter has no public type
        # The event loop has already seen a closed connection: unlike a ping, this costs no round
        # trip.
        if connection.driver_connection.is_closed():
            raise DisconnectionError

    @event.listens_for(engine.sync_engine, "handle_error")
    def give_up(context: ExceptionContext) -> None:
        # A server that did not answer in time would not answer ROLLBACK: close the connection.
        if isinstance(context.original_exception, TimeoutError):
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False
        # The other connections have the same fate: replace them before use.
        elif sqlstate(context.original_exception).startswith(DISCONNECTED):
            context.is_disconnect = True

    tracing.trace_statements(engine.sync_engine)
    return engine


def _sqlite_engine(url: SqliteUrl, *, pool_size: int, begin: str) -> AsyncEngine:
    path = str(url.path)
    engine = create_async_engine(
        URL.create(SQLITE_DRIVER, database=path),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_WAIT_SECONDS,
        json_serializer=_json,
        # A connection ends its own transaction; another rollback would cost a turn of its thread.
        pool_reset_on_return=None,
        # None leaves BEGIN to us: the driver's own comes too late to cover the first read.
        connect_args={"isolation_level": None, "timeout": url.busy_timeout_seconds},
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def make_private(*_: object) -> None:
        sqlite_driver.create_private_file(path)

    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection: Any, _: ConnectionPoolEntry) -> None:  # noqa: ANN401 - the adapter has no public type
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        if begin == sqlite_driver.READ:  # its end is not awaited
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin_transaction(connection: Any) -> None:  # noqa: ANN401 - as above
        autocommit = connection.get_execution_options().get(sqlite_driver.AUTOCOMMIT, False)
        connection.connection.dbapi_connection.begin_with(begin, autocommit=autocommit)

    tracing.trace_statements(engine.sync_engine)
    return engine
