"""Invariant 6: a failure touches whom it should, and nobody else."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select

from app.domain.ids import new_id
from app.store.db.database import Database
from app.store.tables.core import connection_permits
from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import CANARY, until
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import DISCONNECT, SmtpServer

FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"banner": "554 5.7.1 No service for you"}, "banner_rejected", "No service for you"),
    ({"banner": "421 4.3.2 Too busy"}, "service_unavailable", "Too busy"),
    ({"banner": DISCONNECT}, "connection_lost", "closed the connection"),
    ({"ehlo": "504 5.5.2 need fully-qualified hostname"}, "ehlo_rejected", "ehlo_name"),
    ({"ehlo": "550 access denied"}, "ehlo_rejected", "main.example.com"),
    ({"mail": "530 5.7.0 Authentication required"}, "authentication_required", "auth.username"),
    (
        {"rcpt": "504 5.5.2 <main.example.com>: Helo command rejected: need fully-qualified"},
        "ehlo_rejected",
        "ehlo_name",
    ),
    (
        {"rcpt": "450 4.7.1 <main.example.com>: Helo command rejected: Host not found"},
        "ehlo_rejected",
        "ehlo_name",
    ),
    ({"rcpt": "554 5.7.1 <ann@example.org>: Relay access denied"}, "relay_denied", "auth"),
]


@pytest.mark.one_database
@pytest.mark.parametrize(("script", "code", "reason"), FAULTS)
async def test_a_fault_of_the_profile_holds_its_messages_and_uses_no_attempt(
    start: Start, script: dict[str, Any], code: str, reason: str
) -> None:
    """The profile is `failing` and says why; once it works again the same messages go out."""
    clock = HandClock()
    async with SmtpServer(script) as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("main", server.port)
        messages = [await acme.send() for _ in range(3)]
        failing = await acme.state("main", "failing")
        assert failing["failing_code"] == code
        assert reason in failing["reason"]
        assert failing["next_probe_at"] > failing["failing_since"]
        await acme.settled()
        for message in messages:
            [recipient] = (await acme.read(f"/messages/{message}"))["recipients"]
            assert (recipient["status"], recipient["attempts"]) == ("queued", 0)
        server.script.clear()
        await clock.advance(minutes=5)
        for message in messages:
            body = await acme.message(message, status="sent")
            assert body["recipients"][0]["attempts"] == 1
        healthy = await acme.state("main", "active")
        assert healthy["reason"] is healthy["failing_since"] is None


@pytest.mark.one_database
async def test_a_fault_of_a_former_revision_says_nothing_about_the_newer(start: Start) -> None:
    """A probe under the old name ends after the name is changed: the new one is not failing."""
    clock, gate = HandClock(), asyncio.Event()

    def only_the_new_name(name: str) -> str | None:
        return None if name == "new.example.com" else "504 5.5.2 need fully-qualified hostname"

    async with SmtpServer({"ehlo": only_the_new_name}) as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("main", server.port)
        messages = [await acme.send()]
        await acme.state("main", "failing")
        await acme.settled()
        server.gates["ehlo"] = gate
        await clock.advance(minutes=5)
        await server.wait_until(lambda server: len(server.sessions) == 2)
        await acme("PATCH", "/profiles/main", {"ehlo_name": "new.example.com"})
        messages.append(await acme.send())
        for _ in range(10):  # the lane goes on to the new revision at one of these looks
            await clock.advance(seconds=1)
            await asyncio.sleep(0.02)
        gate.set()
        for message in messages:
            await acme.message(message, status="sent")
        failing = await acme.read("/events?type=profile.failing")
    assert len(failing["items"]) == 1


@pytest.mark.one_database
async def test_a_refused_password_is_the_profiles_fault_until_it_is_changed(start: Start) -> None:
    """PATCH tries again at once; no clock has to move for it."""
    clock = HandClock()
    async with SmtpServer(users={"billing": CANARY}) as server:
        acme = await (await start(clock=clock)).tenant()
        auth = {"username": "billing", "password": "wrong-one", "allow_plaintext_auth": True}
        await acme.profile("main", server.port, auth=auth)
        message = await acme.send()
        failing = await acme.state("main", "failing")
        assert failing["failing_code"] == "auth_rejected"
        assert "535 5.7.8" in failing["reason"]
        await acme("PATCH", "/profiles/main", {"auth": {"password": CANARY}})
        await acme.message(message, status="sent")
        assert (await acme.state("main", "active"))["reason"] is None


async def test_an_outage_is_probed_with_one_connection_and_counted_once(start: Start) -> None:
    """Ten connections that fail together are one fault; each probe is one connection."""
    clock = HandClock()
    async with SmtpServer({"banner": "421 4.3.2 Too busy"}) as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("main", server.port, max_connections=10)
        await acme("POST", "/profiles/main/pause")
        messages = [await acme.send() for _ in range(40)]
        await acme("POST", "/profiles/main/resume")
        failing = await acme.state("main", "failing")
        await acme.settled()
        before = len(server.sessions)
        assert before <= 10
        await clock.advance(seconds=6)
        await server.wait_until(lambda server: len(server.sessions) == before + 1)
        await acme.settled()
        assert (await acme.read("/profiles/main"))["failing_since"] == failing["failing_since"]
        server.script.clear()
        await clock.advance(minutes=5)
        await acme.all_sent(messages)


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_a_worker_without_a_connection_leaves_the_probe_to_the_others(
    start: Start, database: Database
) -> None:
    """Another worker has all connections of the profile; once it returns them, the probe is due."""
    acme = await (await start()).tenant()
    port = unused_port()
    profile_id = (await acme.profile("main", port))["id"]
    waiting = await acme.send()
    await acme.state("main", "failing")
    place = connection_permits.c.profile_id == profile_id
    others = {"profile_id": profile_id, "worker_id": new_id("wrk"), "permits": 10}
    async with database.transaction() as connection:
        await connection.execute(delete(connection_permits).where(place))
        expires_at = datetime.now(UTC) + timedelta(minutes=30)
        await connection.execute(insert(connection_permits).values(expires_at=expires_at, **others))

    async def has_asked() -> bool | None:
        async with database.reading() as connection:
            query = select(func.count()).where(place, connection_permits.c.permits == 0)
            return (await connection.execute(query)).scalar_one() == 1 or None

    async with SmtpServer(port=port):
        await acme("POST", "/profiles/main/resume")
        await until(has_asked)
        async with database.transaction() as connection:
            await connection.execute(delete(connection_permits).where(place))
        await acme.message(waiting, status="sent")


async def test_one_profiles_fault_delays_no_other(start: Start) -> None:
    """Neither another profile of the tenant nor another tenant."""
    async with SmtpServer({"ehlo": "550 no"}) as broken, SmtpServer() as server:
        heloise = await start()
        acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
        await acme.profile("broken", broken.port)
        await acme.profile("main", server.port)
        await other.profile("main", server.port)
        held = await acme.send(profile="broken")
        await acme.state("broken", "failing")
        await acme.message(await acme.send(profile="main"), status="sent")
        await other.message(await other.send(), status="sent")
        assert (await acme.read(f"/messages/{held}"))["status"] == "queued"


@pytest.mark.one_database
async def test_a_closed_idle_connection_touches_nobody(start: Start) -> None:
    """A server that says goodbye between two messages is connected to again, at once."""
    async with SmtpServer({"mail": [None, "421 4.4.2 Idle for too long"]}) as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port, max_connections=1)
        await acme.message(await acme.send(), status="sent")
        second = await acme.send()
        body = await acme.message(second, status="sent")
        assert body["recipients"][0]["attempts"] == 1
        assert (await acme.read("/profiles/main"))["state"] == "active"
        assert len(server.sessions) == 2


async def test_a_paused_profile_sends_nothing_until_it_is_resumed(
    start: Start, server: SmtpServer
) -> None:
    """Its messages are accepted and wait."""
    acme = await (await start()).tenant()
    await acme.profile("main", server.port)
    await acme.profile("other", server.port)
    await acme("POST", "/profiles/main/pause")
    held = await acme.send(profile="main")
    await acme.message(await acme.send(profile="other"), status="sent")
    assert (await acme.read(f"/messages/{held}"))["status"] == "queued"
    await acme("POST", "/profiles/main/resume")
    await acme.message(held, status="sent")


async def test_deleting_a_profile_cancels_what_it_has_not_sent(start: Start) -> None:
    """With cancel_pending; without it, 409."""
    async with SmtpServer({"ehlo": "550 no"}) as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port)
        message = await acme.send()
        await acme.state("main", "failing")
        assert (await acme("DELETE", "/profiles/main")).status_code == 409
        assert (await acme("DELETE", "/profiles/main?cancel_pending=true")).status_code == 204
        body = await acme.message(message, status="cancelled")
        assert body["recipients"][0]["status"] == "cancelled"


@pytest.mark.one_database
async def test_a_sandbox_captures_and_sends_nothing(start: Start) -> None:
    """What was captured reads back as it would have been sent."""
    acme = await (await start()).tenant()
    await acme.made("/profiles", {"name": "box", "transport": "sandbox"})
    message = await acme.send(**{"from": "test@example.com"})
    body = await acme.message(message, status="sent")
    assert body["recipients"][0]["last_reply"]["classification"] == "captured"
    assert b"It works." in (await acme("GET", f"/messages/{message}/raw")).content
