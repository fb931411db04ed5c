"""The way to PostgreSQL fails, not PostgreSQL: what is not known is found out, or told."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from app.accept import group_commit as committer
from app.store.db.database import Database
from tests.e2e.conftest import Start
from tests.support.harness import Heloise, Tenant, Watched, until
from tests.support.servers.smtp_server import SmtpServer
from tests.support.servers.tcp_proxy import TcpProxy

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.parametrize("backend", ["postgresql"], indirect=True),
]

WRITTEN = pytest.mark.parametrize("is_written", [True, False])
BODY = {"to": ["ann@example.org"], "subject": "Hello", "text": "It works."}
LARGE = BODY | {"text": "It is large.\n" * 100_000}
LOST = "a lost commit"
CUT = "Here it is cut. "
WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
NOT_WRITTEN = (503, "/problems/database-unavailable")


@pytest.fixture
async def proxy(migrated_url: str) -> AsyncIterator[TcpProxy]:
    """What stands between the service and its database."""
    async with TcpProxy(migrated_url) as proxy:
        yield proxy


async def _ready(heloise: Heloise, server: SmtpServer) -> Tenant:
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    return acme


async def _subjects(acme: Tenant) -> list[str]:
    page = await acme("GET", "/messages")
    return [message["subject"] for message in page.json()["items"]]


async def test_a_database_that_goes_mute_counts_as_away(
    proxy: TcpProxy, start: Start, server: SmtpServer
) -> None:
    """503 after the time that the settings give it; once it speaks again all goes on by itself."""
    heloise = await start(database_url=proxy.url, database_timeout_seconds=2)
    acme = await _ready(heloise, server)
    await acme.send()
    await server.wait_for_messages(1)
    proxy.flows.clear()
    answer = await acme("POST", "/messages", json=BODY)
    assert (answer.status_code, answer.json()["type"]) == NOT_WRITTEN
    assert int(answer.headers["retry-after"]) > 0
    ready = await heloise.http.get("/readyz")
    assert (ready.status_code, ready.json()["type"]) == (503, "/problems/not-ready")
    proxy.flows.set()

    async def is_accepted() -> bool | None:
        second = await acme("POST", "/messages", json=BODY)
        return second.status_code == 202 or None

    await until(is_accepted)
    await server.wait_for_messages(2)
    assert len(await _subjects(acme)) == len(server.messages) == 2


@WRITTEN
@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "one"}], ids=["plain", "keyed"])
async def test_a_message_whose_commit_got_no_answer_is_looked_for(
    proxy: TcpProxy, start: Start, server: SmtpServer, *, is_written: bool, key: dict[str, str]
) -> None:
    """202 where it stands in the database, 503 where it does not: as is answered, so it is."""
    heloise = await start(database_url=proxy.url)
    acme = await _ready(heloise, server)
    proxy.lose_commit, proxy.after_it = LOST.encode(), is_written
    answer = await acme("POST", "/messages", json=BODY | {"subject": LOST}, headers=key)
    assert proxy.lose_commit is None
    if is_written:
        assert answer.status_code == 202
        await acme.message(answer.json()["id"], status="sent")
    else:
        assert (answer.status_code, answer.json()["type"]) == NOT_WRITTEN
    assert len(await _subjects(acme)) == len(server.messages) == int(is_written)


@WRITTEN
async def test_the_same_holds_of_a_large_one(
    proxy: TcpProxy, start: Start, server: SmtpServer, *, is_written: bool
) -> None:
    """Though it is written by more than one statement."""
    heloise = await start(database_url=proxy.url)
    acme = await _ready(heloise, server)
    proxy.lose_commit, proxy.after_it = LOST.encode(), is_written
    answer = await acme("POST", "/messages", json=LARGE | {"subject": LOST})
    assert proxy.lose_commit is None
    assert answer.status_code == (202 if is_written else 503)
    await acme.message(await acme.send(**LARGE), status="sent")
    assert len(await _subjects(acme)) == len(server.messages) == is_written + 1


async def test_a_large_message_that_is_lost_on_its_way_is_told(
    proxy: TcpProxy, start: Start, server: SmtpServer
) -> None:
    """Nothing of it stands, and the next one finds a connection that works."""
    heloise = await start(database_url=proxy.url)
    acme = await _ready(heloise, server)
    proxy.refuses = CUT.encode()
    answer = await acme("POST", "/messages", json=LARGE | {"text": f"{CUT}\n" * 100_000})
    assert (answer.status_code, answer.json()["type"]) == NOT_WRITTEN
    proxy.refuses = None
    await acme.message(await acme.send(**LARGE), status="sent")
    assert len(await _subjects(acme)) == len(server.messages) == 1


async def test_a_message_that_is_still_being_written_is_waited_for(
    proxy: TcpProxy, start: Start, server: SmtpServer, database: Database
) -> None:
    """The server goes on with it after the connection is lost: what is not there yet may come."""
    heloise = await start(database_url=proxy.url)
    acme = await _ready(heloise, server)
    await acme.message(await acme.send(), status="sent")
    proxy.lose_commit = LOST.encode()

    async def is_waiting(count: int) -> bool | None:
        async with database.reading() as connection:
            waiting = await connection.execute(WAITING)
            return waiting.scalar_one() == count or None

    async with database.transaction() as connection:
        await connection.execute(text("SELECT id FROM profiles FOR UPDATE"))
        request_task = asyncio.create_task(acme("POST", "/messages", json=BODY | {"subject": LOST}))
        await until(lambda: is_waiting(2))  # who writes it, and who wants to know
    answer = await request_task
    assert answer.status_code == 202
    assert LOST in await _subjects(acme)


async def test_where_nobody_can_say_whether_it_was_written_that_is_said(
    proxy: TcpProxy, start: Start, server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is lost with the commit and does not come back: read before you send again."""
    monkeypatch.setattr(committer, "MAX_DOUBT_SECONDS", 3.0)
    heloise = await start(database_url=proxy.url, database_timeout_seconds=2)
    acme = await _ready(heloise, server)
    proxy.lose_commit, proxy.then_mute = LOST.encode(), True
    answer = await acme("POST", "/messages", json=BODY | {"subject": LOST})
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/commit-unknown")
    assert "check before you try again" in answer.json()["detail"]
    proxy.flows.set()
    await server.wait_for_messages(1)


@WRITTEN
async def test_an_outcome_whose_commit_got_no_answer_is_written_once(
    proxy: TcpProxy, start: Start, *, is_written: bool
) -> None:
    """The server has taken the message; it is not sent again, and one attempt tells of it."""
    async with SmtpServer() as server:
        gate = server.gates["dot"] = asyncio.Event()
        api = await start(delivery=False)
        acme = await _ready(api, server)
        await start(database_url=proxy.url)
        message_id = await acme.send()
        await server.wait_for_messages(1)
        proxy.lose_commit, proxy.after_it = message_id.encode(), is_written
        gate.set()
        await acme.message(message_id, status="sent")
        [attempt] = await acme.attempts(message_id)
        assert not attempt["outcome_unknown"]
        assert len(server.messages) == 1
        assert proxy.lose_commit is None


async def test_without_announcements_it_looks_by_itself(
    proxy: TcpProxy, start: Start, server: SmtpServer, watched: Watched
) -> None:
    """What another process accepted is found by the next look."""
    proxy.refuses = b"LISTEN"
    api = await start(delivery=False)
    acme = await _ready(api, server)
    await start(database_url=proxy.url, poll_interval_seconds=0.1)
    await acme.message(await acme.send(), status="sent")
    assert "polling for new work" in watched.log.getvalue()
