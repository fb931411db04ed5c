"""Open databases and transactions, notify workers, and hide dialect differences."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import QueuePool

from app.domain.clock import monotonic_seconds
from app.domain.errors import SettingsError, Unavailable
from app.store.db import postgresql_driver, sqlite_driver
from app.store.db.announcer import Announcer
from app.store.db.backup import is_backup
from app.store.db.errors import CommitUnknown, Refused, RolledBack, database_faults, name_fault
from app.store.db.listener import IS_WRITABLE, WAKE_CHANNEL, Listener, SessionWatch
from app.store.db.postgresql_driver import (
    CONNECT_SECONDS,
    DATABASE_SETTING,
    PLANNER_SETTINGS,
    UNNAMED_IN_DRIVER,
)
from app.store.db.transaction_observer import DatabaseObserver, take_finished
from app.store.db.url import PostgresqlUrl, SqliteUrl, parse_database_url

log = logging.getLogger(__name__)
T = TypeVar("T")

# A role sees what its own sessions wait for.
_IS_REPLICATION_STUCK: Final = text(
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = current_user"
    " AND wait_event = 'SyncRep' AND query_start < clock_timestamp() - interval '5 seconds')"
)
_NOTIFY: Final = text(f"NOTIFY {WAKE_CHANNEL}")
_ALLOW_SCANS: Final = text(
    "SELECT "
    + ", ".join(f"set_config('{name}', 'on', true)" for name in PLANNER_SETTINGS if name != "jit")
)
_SIZE_POSTGRESQL: Final = text("SELECT pg_database_size(current_database())")
_SIZE_SQLITE: Final = text(
    "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
)
MAX_RETRIES: Final = 3


def _dump_json(value: object) -> str:
    """Serialize as the standard library does, in a tenth of the time."""
    return to_json(value).decode()


# Of both drivers.
_ENGINE_OPTIONS: Final[Mapping[str, Any]] = {"json_serializer": _dump_json, "pool_timeout": 10.0}


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
            self._writer = postgresql_driver.create_engine(
                partial(self._connect, answer_seconds=answer_seconds),
                pool_size=pool_size,
                is_pooled=self.is_pooled,
                answer_seconds=answer_seconds,
                **_ENGINE_OPTIONS,
            )
            # Under READ COMMITTED each statement sees what was committed before it, in a
            # transaction or not: autocommit saves the round trips of BEGIN and COMMIT.
            self._autocommit = self._writer.execution_options(isolation_level="AUTOCOMMIT")
            self._reader = self._autocommit
        else:
            create_engine = partial(sqlite_driver.create_engine, self._url, **_ENGINE_OPTIONS)
            self._writer = create_engine(pool_size=1, begin=sqlite_driver.WRITE)
            self._autocommit = self._writer.execution_options(**{sqlite_driver.AUTOCOMMIT: True})
            self._reader = create_engine(pool_size=4, begin=sqlite_driver.READ)

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
