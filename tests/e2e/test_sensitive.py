"""A sensitive message: its content is its server's alone, and gone once the message is final."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from app.domain.secret_keys import generate_key
from app.settings.model import Settings
from app.store.db.url import sqlite_path
from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import CANARY, Heloise, Tenant, cells, settings
from tests.support.servers.smtp_server import DISCONNECT, SmtpServer

# The harness looks for the canary in all that was answered, logged and stored, too.
SECRET: Final = {"sensitive": True, "subject": f"Code {CANARY}", "text": f"It is {CANARY}."}


async def acme_of(heloise: Heloise, server: SmtpServer, **fields: Any) -> Tenant:
    """A tenant with a profile for the server."""
    acme = await heloise.tenant(**fields)
    await acme.profile("main", server.port)
    return acme


def read_database(database: Path) -> bytes:
    """What stands in an SQLite database, and in the files beside it."""
    return b"".join(path.read_bytes() for path in database.parent.glob(f"{database.name}*"))


async def load_content(settings: Settings) -> dict[str, object]:
    """The one row of `message_contents`."""
    return {
        name: value
        for name, value in await cells(settings.database_url)
        if name.startswith("message_contents.")
    }


async def test_its_content_is_nowhere_but_at_its_server(
    heloise: Heloise, server: SmtpServer, migrated_url: str
) -> None:
    """Its server gets it as it was written; here it is not kept, nor shown to anybody."""
    acme = await acme_of(heloise, server)
    message = await acme.send(**SECRET)
    body = await acme.message(message, status="sent")
    assert CANARY.encode() in server.messages[0].data
    assert (body["sensitive"], body["subject"]) == (True, None)
    assert body["content_wiped_at"] == body["finished_at"]
    row = await load_content(settings(migrated_url))
    assert row["message_contents.mime"] == b""
    assert row["message_contents.sealed_key"] is None


@pytest.mark.one_database
async def test_while_it_waits_nobody_reads_it(start: Start, migrated_url: str) -> None:
    """Not by the API, nor in the database, nor in the bytes of its file."""
    heloise = await start(delivery=False)
    acme = await heloise.tenant()
    await acme.profile("main", 25)
    message = await acme.send(**SECRET)
    answer = await acme("GET", f"/messages/{message}/raw")
    assert (answer.status_code, answer.json()["type"]) == (410, "/problems/content-sensitive")
    assert (await acme.read(f"/messages/{message}"))["content_wiped_at"] is None
    for name, value in await cells(migrated_url):
        assert CANARY not in str(value), name
    if (file := sqlite_path(migrated_url)) is not None:
        assert CANARY.encode() not in await asyncio.to_thread(read_database, file)


@pytest.mark.one_database
async def test_another_process_sends_it_as_it_was_written(start: Start, server: SmtpServer) -> None:
    """One that has the same secret keys, after whatever stop."""
    acme = await acme_of(await start(delivery=False), server)
    message = await acme.send(**SECRET, html=f"<p>{CANARY}</p>")
    await start()
    await acme.message(message, status="sent")
    content = server.messages[0].data
    assert f"Subject: Code {CANARY}\r\n".encode() in content
    assert content.count(CANARY.encode()) == 3


@pytest.mark.one_database
async def test_without_its_key_it_waits(start: Start, server: SmtpServer) -> None:
    """A process with other secret keys defers it and says why; one with the right ones sends it."""
    clock = HandClock()
    acme = await acme_of(await start(delivery=False), server)
    message = await acme.send(**SECRET)
    await start(clock=clock, secret_keys=generate_key())
    recipient = await acme.recipient(message, "ann@example.org", status="deferred")
    assert recipient["last_reply"]["classification"] == "content_unreadable"
    [attempt] = await acme.attempts(message)
    assert "lacks the key that encrypted" in attempt["detail"]
    assert server.sessions == []


@pytest.mark.parametrize(("resolution", "status"), [("bounced", "failed"), ("retry", "sent")])
async def test_what_is_uncertain_keeps_its_content_until_somebody_decides(
    start: Start, resolution: str, status: str
) -> None:
    """It may have to be sent once more."""
    async with SmtpServer({"dot": [DISCONNECT]}) as server:
        acme = await acme_of(await start(), server)
        message = await acme.send(**SECRET, guarantee="at_most_once")
        held = await acme.message(message, status="held")
        assert held["content_wiped_at"] is None
        await acme("POST", f"/messages/{message}/resolve", {"as": resolution})
        final = await acme.message(message, status=status)
        assert final["content_wiped_at"] is not None


async def test_it_is_wiped_however_it_ends(start: Start) -> None:
    """Refused, too old, or cancelled with its profile."""
    clock = HandClock()
    async with SmtpServer({"rcpt": ["550 5.1.1 No such user"]}) as server:
        acme = await acme_of(await start(clock=clock), server)
        refusal = await acme.send(**SECRET)
        assert (await acme.message(refusal, status="failed"))["content_wiped_at"]
        await acme("POST", "/profiles/main/pause")
        late = await acme.send(**SECRET, expires_at=(clock.now() + timedelta(hours=1)).isoformat())
        cancelled = await acme.send(**SECRET)
        await clock.advance(hours=2)
        assert (await acme.message(late, status="failed"))["content_wiped_at"]
        await acme("DELETE", "/profiles/main?cancel_pending=true")
        assert (await acme.message(cancelled, status="cancelled"))["content_wiped_at"]


async def test_what_is_wiped_is_not_counted_as_stored(heloise: Heloise, server: SmtpServer) -> None:
    """A quota of bytes is for what is kept."""
    acme = await acme_of(heloise, server, quota={"stored_bytes": 1_000_000})

    async def load_used() -> int:
        [limit] = (await acme.read("/usage"))["limits"]
        return int(limit["used"])

    body = await acme.message(await acme.send(), status="sent")
    assert await load_used() == body["size_bytes"]
    await acme.message(await acme.send(**SECRET), status="sent")
    assert await load_used() == body["size_bytes"]
