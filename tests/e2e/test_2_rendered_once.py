"""Invariant 2: MIME bytes and Message-ID are made at accept and never change."""

import pytest

from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.servers.smtp_server import SmtpServer


async def test_every_try_sends_the_bytes_that_were_accepted(start: Start) -> None:
    """Over a temporary refusal, a restart, and a change of the profile's name."""
    clock = HandClock()
    async with SmtpServer({"dot": ["451 4.3.0 Try again later"]}) as server:
        heloise = await start(clock=clock)
        acme = await heloise.tenant()
        await acme.profile("main", server.port)
        message = await acme.send(subject="Grüße – once", text="Line\n.\nßtop", html="<p>ß</p>")
        await acme.recipient(message, "ann@example.org", status="deferred")
        raw = (await acme("GET", f"/messages/{message}/raw")).content
        await acme("PATCH", "/profiles/main", {"ehlo_name": "other.example.com"})
        await clock.advance(minutes=2)
        await acme.message(message, status="sent")
        assert [received.data for received in server.messages] == [raw, raw]
        assert (await acme("GET", f"/messages/{message}/raw")).content == raw
        body = await acme.read(f"/messages/{message}")
        assert body["message_id_header"].encode() in raw


@pytest.mark.one_database
async def test_bcc_gets_the_message_and_stands_nowhere_in_it(start: Start) -> None:
    """Nor can another recipient see it."""
    async with SmtpServer() as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port)
        message = await acme.send(bcc=["secret@example.net"], cc=["carol@example.org"])
        await acme.message(message, status="sent")
        [received] = server.messages
        assert received.recipients == [
            "ann@example.org",
            "carol@example.org",
            "secret@example.net",
        ]
        assert b"secret" not in received.data
