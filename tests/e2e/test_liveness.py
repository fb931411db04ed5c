"""A dead worker is noticed by its session, long before its leases end; a live one loses nothing.

The leases of these workers last ten minutes, longer than any of these tests may take.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from sqlalchemy import select, text

from app.store.db.database import Database
from app.store.tables.core import messages, workers
from tests.e2e.conftest import Start
from tests.support.database.pgbouncer import pgbouncer_before
from tests.support.harness import Process, Tenant, until
from tests.support.servers.smtp_server import SILENCE, SmtpServer
from tests.support.servers.tcp_proxy import TcpProxy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.postgresql,
    pytest.mark.parametrize("backend", ["postgresql"], indirect=True),
]

LONG: Final = 600
OWN_LOCK: Final = (
    "FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND (classid::bigint << 32) | objid::bigint = hashtextextended(:worker_id, 0)"
)
SESSION: Final = text(f"SELECT pid {OWN_LOCK}")
END_SESSION: Final = text(f"SELECT pg_terminate_backend(pid) {OWN_LOCK}")


class Sessions:
    """What the database says of the workers and their sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def recorded(self) -> list[str]:
        """The workers whose rows say that a session shows their life."""
        query = select(workers.c.id).where(workers.c.server_started_at.is_not(None))
        async with self._database.reading() as connection:
            return list((await connection.execute(query.order_by(workers.c.id))).scalars())

    async def wait_recorded(self, count: int) -> list[str]:
        """The workers, oldest first, once there are so many of them."""

        async def fact() -> list[str] | None:
            recorded = await self.recorded()
            return recorded if len(recorded) == count else None

        return await until(fact)

    async def find(self, worker_id: str) -> int | None:
        """The process of the server that holds the worker's lock."""
        async with self._database.reading() as connection:
            query = await connection.execute(SESSION, {"worker_id": worker_id})
            return query.scalar_one_or_none()

    async def end(self, worker_id: str) -> None:
        """End the session that holds the worker's lock, at the server."""
        async with self._database.reading() as connection:
            await connection.execute(END_SESSION, {"worker_id": worker_id})

    async def leased(self) -> set[str | None]:
        """The owners of all messages."""
        async with self._database.reading() as connection:
            return set((await connection.execute(select(messages.c.lease_owner))).scalars())


@pytest.fixture
def sessions(database: Database) -> Sessions:
    """Of the database of the test."""
    return Sessions(database)


@pytest.fixture
async def acme(start: Start) -> Tenant:
    """A tenant of an API that delivers nothing itself."""
    return await (await start(delivery=False)).tenant()


@pytest.fixture
async def gated() -> AsyncIterator[SmtpServer]:
    """A server that keeps the first client before the body, until its gate opens."""
    async with SmtpServer() as server:
        server.gates["data"] = asyncio.Event()
        yield server


async def begun(acme: Tenant, server: SmtpServer, **fields: Any) -> str:
    """A message that the one worker has begun to send."""
    await acme.profile("main", server.port, max_connections=1)
    message = await acme.send(**fields)
    await server.wait_until(lambda seen: any("DATA" in s.commands for s in seen.sessions))
    return message


async def workers_alive(acme: Tenant) -> int:
    return int((await acme.read("/queue"))["workers"])


async def test_what_a_killed_worker_held_is_taken_over_at_once(
    acme: Tenant, launch: Any, sessions: Sessions
) -> None:
    """Its messages by the rules of recovery, its connections for a new message (invariants 3, 5).

    The queue says that it is gone.
    """
    async with SmtpServer({"mail": [SILENCE]}) as early, SmtpServer({"dot": [SILENCE]}) as late:
        await acme.profile("early", early.port, max_connections=1)
        await acme.profile("late", late.port, max_connections=1)
        message = await acme.send(profile="early")
        once = await acme.send(profile="late", guarantee="at_most_once")
        behind = await acme.send(profile="late", guarantee="at_most_once")
        dead: Process = launch("worker", lease_seconds=LONG)
        await early.wait_until(lambda seen: any(session.commands[1:] for session in seen.sessions))
        await late.wait_for_messages(1)
        launch("worker", lease_seconds=LONG)
        await sessions.wait_recorded(2)
        assert await workers_alive(acme) == 2
        dead.kill()
        new = await acme.send(profile="early")
        await acme.all_sent([message, new, behind])
        held = await acme.message(once, status="held")
        assert held["recipients"][0]["status"] == "uncertain"
        for taken_over in (message, once):
            assert (await acme.attempts(taken_over))[0]["outcome_unknown"] is True
        assert [attempt["outcome_unknown"] for attempt in await acme.attempts(new)] == [False]
        assert len(late.messages) == 2
        assert await workers_alive(acme) == 1


async def test_a_worker_that_starts_after_the_death_takes_over_too(
    acme: Tenant, launch: Any, server: SmtpServer, sessions: Sessions
) -> None:
    """As where one worker is killed and started again; and the queue knew that none was left."""
    server.script["mail"] = [SILENCE]
    await acme.profile("main", server.port, max_connections=1)
    message = await acme.send()
    dead: Process = launch("worker", lease_seconds=LONG)
    await server.wait_until(lambda seen: any(session.commands[1:] for session in seen.sessions))
    await sessions.wait_recorded(1)
    dead.kill()

    async def none_is_left() -> bool | None:
        return await workers_alive(acme) == 0 or None

    await until(none_is_left)
    launch("worker", lease_seconds=LONG)
    await acme.message(message, status="sent")


async def test_a_worker_that_loses_its_session_keeps_its_messages(
    acme: Tenant, launch: Any, gated: SmtpServer, sessions: Sessions
) -> None:
    """Another worker looks on, and the owner settles what it transmits (invariant 3)."""
    launch("worker", lease_seconds=LONG)
    message = await begun(acme, gated)
    [owner] = await sessions.wait_recorded(1)
    other: Process = launch("worker", lease_seconds=LONG)
    await sessions.wait_recorded(2)
    for _ in range(3):
        former = await sessions.find(owner)
        await sessions.end(owner)

        async def is_back(former: int | None = former) -> bool | None:
            current = await sessions.find(owner)
            has_returned = current not in {None, former} and len(await sessions.recorded()) == 2
            return has_returned or None

        await until(is_back)
    gated.gates["data"].set()
    await acme.message(message, status="sent")
    assert [attempt["outcome_unknown"] for attempt in await acme.attempts(message)] == [False]
    assert len(gated.messages) == 1
    assert "is gone" not in other.log.read_text()


async def test_a_frozen_worker_sends_nothing_that_another_took_over(
    acme: Tenant, launch: Any, gated: SmtpServer, sessions: Sessions
) -> None:
    """Before the body, for longer than its lease: time decides, not its lock (invariant 3)."""
    frozen: Process = launch("worker", lease_seconds=2)
    message = await begun(acme, gated)
    await sessions.wait_recorded(1)
    gate = gated.gates.pop("data")
    os.kill(frozen.process.pid, signal.SIGSTOP)
    try:
        launch("worker", lease_seconds=LONG)
        await acme.message(message, status="sent")
        assert await sessions.leased() == {None}
        gate.set()
    finally:
        os.kill(frozen.process.pid, signal.SIGCONT)
    await logged(frozen, "dropping outcomes of messages that another worker took over")
    takeover, sent = await acme.attempts(message)
    assert (takeover["outcome_unknown"], sent["verdict"]) == (True, "delivered")
    assert len(gated.messages) == 1


async def test_a_worker_cut_off_begins_no_body_once_its_session_is_gone(
    acme: Tenant, launch: Any, gated: SmtpServer, sessions: Sessions, migrated_url: str
) -> None:
    """It lives, and reaches the mail server, but neither its session nor its database."""
    async with TcpProxy(migrated_url) as proxy:
        cut: Process = launch("worker", lease_seconds=LONG, database_url=proxy.url)
        message = await begun(acme, gated)
        [owner] = await sessions.wait_recorded(1)
        launch("worker", lease_seconds=LONG)
        await sessions.wait_recorded(2)
        gate = gated.gates.pop("data")
        proxy.flows.clear()
        await sessions.end(owner)
        await acme.message(message, status="sent")
        gate.set()
        proxy.flows.set()
        await logged(cut, "dropping outcomes of messages that another worker took over")
    takeover, sent = await acme.attempts(message)
    assert (takeover["outcome_unknown"], sent["verdict"]) == (True, "delivered")
    assert len(gated.messages) == 1


@pytest.mark.pgbouncer
async def test_behind_a_pooler_only_time_tells(
    acme: Tenant, launch: Any, server: SmtpServer, sessions: Sessions, migrated_url: str
) -> None:
    """A pooler gives no worker a session of its own."""
    server.script["mail"] = [SILENCE]
    with pgbouncer_before(migrated_url) as pooled_url:
        await acme.profile("main", server.port, max_connections=1)
        message = await acme.send()
        dead: Process = launch("worker", lease_seconds=2, database_url=pooled_url)
        await server.wait_until(lambda seen: any(session.commands[1:] for session in seen.sessions))
        assert await sessions.recorded() == []
        dead.kill()
        launch("worker", database_url=pooled_url)
        await acme.message(message, status="sent")
        assert await sessions.recorded() == []


async def logged(process: Process, words: str) -> None:
    """Return once a process has logged this."""

    async def fact() -> bool | None:
        return words in process.log.read_text() or None

    await until(fact)
