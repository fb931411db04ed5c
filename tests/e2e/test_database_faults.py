"""The database fails under load: what was answered with 202 is delivered, once, and by itself.

The server that is stopped here is this file's own.
"""

import asyncio
import resource
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.delivery import settler
from app.domain.clock import Clock
from app.store.db.clock import DatabaseClock
from app.store.db.database import Database
from tests.conftest import Backend
from tests.e2e.conftest import Start
from tests.support.database.postgresql import Server, postgresql_server
from tests.support.hand_clock import HandClock
from tests.support.harness import Heloise, Process, Watched, until
from tests.support.load import NOT_WRITTEN, Load
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import SmtpServer

pytestmark = pytest.mark.long

on_postgresql = pytest.mark.parametrize(
    "backend", [pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Server]:
    """A server for this file alone, to be stopped."""
    with postgresql_server() as server:
        yield server


@pytest.fixture
def migrated_url(backend: Backend, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a migrated database; SQLite waits for locks less long than it does by itself."""
    if backend == "sqlite":
        path = tmp_path / "heloise.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}?timeout=0.2"
        return
    with request.getfixturevalue("postgresql").migrated() as url:
        yield url


async def restart(server: Server) -> None:
    """As an upgrade does it, all in order."""
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)


async def crash(server: Server) -> None:
    """As a machine does it that loses power: what was committed is recovered from the log."""
    await asyncio.to_thread(server.stop, signal.SIGQUIT)
    await asyncio.to_thread(server.start)


async def kill_connections(server: Server) -> None:
    """All of them, again and again, in the middle of whatever they do."""
    killed = 0
    while killed < 30:
        killed += await asyncio.to_thread(server.kill_connections)


@on_postgresql
@pytest.mark.parametrize("fault", [restart, crash, kill_connections])
async def test_nothing_is_lost_or_sent_twice_when_the_database_fails_under_load(
    launch: Any,
    watched: Watched,
    server: SmtpServer,
    postgresql: Server,
    fault: Callable[[Server], Awaitable[None]],
) -> None:
    """While two processes accept and deliver, twice; each time both go on by themselves."""
    api: Process = launch("serve", port=unused_port())
    launch("worker")
    await api.wait_ready()
    heloise = Heloise(api.url, watched)
    async with heloise.http:
        acme = await heloise.tenant()
        await acme.profile("main", server.port, max_connections=4)
        load = Load(acme)
        async with load.running():
            for _ in range(2):
                await load.wait_accepted(20)
                await fault(postgresql)
            await load.wait_accepted(20)
            delivered = len(server.messages)
            await server.wait_for_messages(delivered + 1)
        await load.assert_delivered(server)


@on_postgresql
async def test_readiness_tells_while_the_database_is_away(
    start: Start, server: SmtpServer, postgresql: Server
) -> None:
    """503 at `/readyz` and `Retry-After` at `/messages`, `/healthz` as ever; then all is well."""
    heloise = await start()
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    load = Load(acme)
    await load.send()
    await asyncio.to_thread(postgresql.stop)
    try:
        answer = await heloise.http.get("/readyz")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/not-ready")
        assert "cannot be reached" in answer.json()["detail"]
        assert (await heloise.http.get("/healthz")).status_code == 200
        assert (await load.send()).json()["type"] == NOT_WRITTEN
    finally:
        await asyncio.to_thread(postgresql.start)
    assert (await heloise.http.get("/readyz")).status_code == 200
    assert (await load.send()).status_code == 202
    await load.assert_delivered(server)


@on_postgresql
async def test_after_a_failover_writes_go_to_the_new_primary(
    start: Start, server: SmtpServer, postgresql: Server, migrated_url: str
) -> None:
    """Open connections lead to a server that only reads: they are replaced."""
    heloise = await start()
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    load = Load(acme)
    await load.send()
    async with postgresql.demoted(migrated_url):

        async def is_accepted() -> bool | None:
            return (await load.send()).status_code == 202 or None

        await until(is_accepted)
        assert (await heloise.http.get("/readyz")).status_code == 200
        await load.assert_delivered(server)


@on_postgresql
async def test_the_announcement_of_work_is_heard_again_after_a_restart(
    launch: Any, watched: Watched, server: SmtpServer, postgresql: Server
) -> None:
    """By a worker that looks of its own accord but once in five minutes."""
    api: Process = launch("serve", "--no-delivery", port=unused_port())
    await api.wait_ready()
    worker: Process = launch("worker", poll_interval_seconds=300)
    heloise = Heloise(api.url, watched)
    async with heloise.http:
        acme = await heloise.tenant()
        await acme.profile("main", server.port)
        load = Load(acme)
        await until(worker.delivers)
        await load.send()
        await server.wait_for_messages(1)
        await restart(postgresql)
        for number in (2, 3):
            await load.send()
            await server.wait_for_messages(number)
        await load.assert_delivered(server)


@on_sqlite
async def test_outcomes_are_kept_while_the_database_is_locked(
    start: Start, watched: Watched, migrated_url: str
) -> None:
    """By another process, past every lease: what the server took is not sent again.

    What was claimed and not begun is begun once the lease is sure again. Meanwhile nothing is
    accepted, and that is said.
    """
    clock = HandClock()
    async with SmtpServer() as server:
        gate = server.gates["dot"] = asyncio.Event()
        heloise = await start(clock=clock)
        acme = await heloise.tenant()
        await acme.profile("main", server.port, max_connections=1)
        load = Load(acme)
        for _ in range(4):
            await load.send()
        await server.wait_for_messages(1)
        async with _lock_writes(migrated_url):
            gate.set()
            await clock.advance(minutes=1)
            assert (await load.send()).json()["type"] == NOT_WRITTEN

            async def fact() -> bool | None:
                return "outcomes wait for the database" in watched.log.getvalue() or None

            await until(fact)
        await load.assert_delivered(server)
        assert len(server.messages) == len(load.accepted)
        for message_id in load.accepted.values():
            assert len(await acme.attempts(message_id)) == 1


def _size(path: Path) -> int:
    return path.stat().st_size


class _Asked(DatabaseClock):
    """A clock whose measuring waits, and with it the renewal of leases, until it `may_answer`."""

    def __init__(self, database: Database, base: Clock) -> None:
        super().__init__(database, base)
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def measure(self) -> None:
        await self.may_answer.wait()


@on_sqlite
async def test_what_is_in_transmission_is_not_claimed_again_by_its_own_worker(
    start: Start, database: Database
) -> None:
    """Its lease ran out, for the renewal hung; whoever claims next renews what is in hand first."""
    hand = HandClock()
    clock = _Asked(database, hand)
    async with SmtpServer() as server:
        gate = server.gates["dot"] = asyncio.Event()
        heloise = await start(clock=clock)
        acme = await heloise.tenant()
        await acme.profile("main", server.port, max_connections=4)
        load = Load(acme)
        await load.send()
        await server.wait_for_messages(1)
        clock.may_answer.clear()
        await hand.advance(minutes=1)
        await load.send()
        await server.wait_for_messages(2)
        gate.set()
        await load.assert_delivered(server)
        assert len(server.messages) == len(load.accepted) == 2


@asynccontextmanager
async def _lock_writes(url: str) -> AsyncIterator[None]:
    """While the block runs, another connection may write and nobody else."""
    path = url.removeprefix("sqlite:///").partition("?")[0]
    other = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
    # In a thread: who has the lock is a task of this one.
    await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@on_sqlite
async def test_a_full_disk_refuses_messages_and_loses_none(
    launch: Any, watched: Watched, server: SmtpServer, tmp_path: Path
) -> None:
    """The file may not grow: 503 until it may again; what was accepted before is delivered."""
    api: Process = launch("serve", port=unused_port())
    await api.wait_ready()
    heloise = Heloise(api.url, watched)
    async with heloise.http:
        acme = await heloise.tenant()
        await acme.profile("main", server.port)
        load = Load(acme)
        largest = _size(tmp_path / "heloise.db") + 500_000
        _, unlimited = resource.prlimit(api.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(api.process.pid, resource.RLIMIT_FSIZE, (largest, unlimited))

        async def is_refused() -> bool | None:
            answer = await load.send(text="x" * 100_000)
            return answer.status_code == 503 or None

        await until(is_refused)
        assert len(load.accepted) < 20
        assert await heloise.http.get("/readyz")
        resource.prlimit(api.process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))

        async def is_accepted() -> bool | None:
            return (await load.send()).status_code == 202 or None

        await until(is_accepted)
        await load.assert_delivered(server)


@on_postgresql
async def test_no_more_is_begun_than_can_be_remembered(
    start: Start, server: SmtpServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcomes cannot be written while messages can be claimed: the backlog ends at its bound."""
    monkeypatch.setattr(settler, "MAX_WAITING", 10)
    bound, in_hand, count = 10, 20, 60
    heloise = await start(lease_seconds=60)
    acme = await heloise.tenant()
    await acme.profile("main", server.port, max_connections=1)
    load = Load(acme)
    async with database.transaction() as connection:
        await connection.exec_driver_sql("LOCK TABLE attempts IN SHARE MODE")
        for _ in range(count):
            await load.send()
        await server.wait_for_messages(bound)
        for _ in range(10):  # each wakes the claims
            await load.send()
        assert len(server.messages) <= bound + in_hand
    await load.assert_delivered(server)
