"""A profile that stands in where another one's server has failed for long."""

import pytest

from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import CANARY
from tests.support.servers.smtp_server import DISCONNECT, SmtpServer

LATER = {"fallback_profile": "second", "fallback_after_seconds": 120}


async def test_what_is_due_goes_through_the_fallback_under_its_own_identity(start: Start) -> None:
    """After `fallback_after_seconds`, not before; the attempt says through which profile."""
    clock = HandClock()
    async with SmtpServer({"ehlo": "550 no"}) as broken, SmtpServer(users={"u": CANARY}) as server:
        acme = await (await start(clock=clock)).tenant()
        auth = {"username": "u", "password": CANARY, "allow_plaintext_auth": True}
        second = await acme.profile("second", server.port, auth=auth)
        await acme.profile("first", broken.port, **LATER)
        message = await acme.send(profile="first")
        await acme.state("first", "failing")
        await clock.advance(seconds=100)
        await acme.message(await acme.send(profile="second"), status="sent")
        await acme.message(message, status="queued")  # a probe takes it in hand, and fails
        await clock.advance(seconds=30)
        await acme.message(message, status="sent")
        received = server.messages[-1]
        assert (received.session.name, received.session.user) == ("second.example.com", "u")
        attempts = await acme.attempts(message)
        assert attempts[-1]["profile_id"] == second["id"]
        assert attempts[-1]["ehlo_name"] == "second.example.com"
        assert (await acme.read("/profiles/first"))["state"] == "failing"


@pytest.mark.one_database
async def test_what_the_first_server_may_have_taken_stays_with_it(start: Start) -> None:
    """A recipient whose outcome is not known is not sent to by another server."""
    clock = HandClock()
    async with SmtpServer({"dot": [DISCONNECT]}) as first, SmtpServer() as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("second", server.port)
        await acme.profile("first", first.port, **LATER)
        unknown = await acme.send(profile="first")
        await acme.recipient(unknown, "ann@example.org", status="deferred")
        first.script["ehlo"] = "550 no"
        await acme("PATCH", "/profiles/first", {"ehlo_name": "changed.example.com"})
        known = await acme.send(profile="first")
        await acme.state("first", "failing")
        await clock.advance(minutes=5)
        await acme.message(known, status="sent")
        assert len(server.messages) == 1
        assert (await acme.read(f"/messages/{unknown}"))["recipients"][0]["status"] == "deferred"
        first.script.clear()
        await clock.advance(minutes=10)
        await acme.message(unknown, status="sent")
        assert len(server.messages) == 1


@pytest.mark.one_database
async def test_a_fallback_is_another_profile_of_the_same_tenant(start: Start) -> None:
    """422 says which field, and nothing is written."""
    heloise = await start()
    acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
    theirs = await other.profile("theirs", 2525)
    for name in ("none", theirs["id"]):
        answer = await acme(
            "POST",
            "/profiles",
            {"name": "p", "host": "127.0.0.1", "fallback_profile": name},
        )
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["body", "fallback_profile"]
    await acme.profile("p", 2525)
    itself = await acme("PATCH", "/profiles/p", {"fallback_profile": "p"})
    assert itself.status_code == 422
