"""Messages that are handed over in memory: as fast as can be, and as safe as any other."""

import asyncio
import re
from http import HTTPStatus
from typing import Any, Final

import pytest

from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import Heloise, Process, Tenant, Watched, until
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import SmtpServer

ACCEPTED: Final = HTTPStatus.ACCEPTED
BODY: Final = {"to": ["ann@example.org"], "subject": "beyond", "text": "It works."}


async def _count_handed_over(heloise: Heloise) -> int:
    """How many groups of messages went from acceptance to their lane, without being read."""
    text = (await heloise.http.get("/metrics")).text
    match = re.search(r'_count\{.*"handover".*\} ([0-9.]+)', text)
    return 0 if match is None else int(float(match[1]))


async def _warm(acme: Tenant, port: int, **fields: Any) -> None:
    """A profile whose lane is there, and has nothing to do."""
    await acme.profile("main", port, **fields)
    await acme.message(await acme.send(), status="sent")
    await acme.settled()


async def _on_two(start: Start, server: SmtpServer) -> tuple[Heloise, Tenant, Tenant]:
    """A process that delivers and has a warm lane, its tenant, and the same tenant by another."""
    heloise, other = await start(), await start(delivery=False)
    acme = await heloise.tenant()
    await _warm(acme, server.port)
    return heloise, acme, Tenant(other.http, acme.headers, acme.tenant_id)


async def _send_directly(heloise: Heloise, acme: Tenant, **fields: Any) -> str:
    """A message that was handed over; answers its id."""

    async def fact() -> str | None:
        before = await _count_handed_over(heloise)
        message = await acme.send(**fields)
        if await _count_handed_over(heloise) > before:
            return message
        await acme.message(message, status="sent")
        return None

    return await until(fact)


async def test_a_lane_without_a_backlog_gets_it_at_once(start: Start, server: SmtpServer) -> None:
    """It is recorded as any other: one attempt, one delivery."""
    heloise = await start()
    acme = await heloise.tenant()
    await _warm(acme, server.port)
    message = await _send_directly(heloise, acme, subject="direct")
    body = await acme.message(message, status="sent")
    assert body["recipients"][0]["attempts"] == 1
    assert len(await acme.attempts(message)) == 1
    assert sum(b"Subject: direct" in mail.data for mail in server.messages) == 1


async def test_a_change_of_the_profile_holds_from_the_next_message_on(
    start: Start, server: SmtpServer
) -> None:
    """However warm its lane is (invariant 8)."""
    heloise = await start()
    acme = await heloise.tenant()
    await _warm(acme, server.port)
    for number in range(5):
        name = f"n{number}.example.com"
        answer = await acme("PATCH", "/profiles/main", {"ehlo_name": name})
        assert answer.status_code == 200
        message = await acme.send()
        await acme.message(message, status="sent")
        [attempt] = await acme.attempts(message)
        assert attempt["ehlo_name"] == name
        assert server.sessions[-1].name == name


async def test_a_change_of_the_tenant_holds_from_the_next_message_on(
    start: Start, server: SmtpServer
) -> None:
    """Its name is a step of the ladder: as above."""
    heloise = await start()
    acme = await heloise.tenant()
    await _warm(acme, server.port, ehlo_name=None)
    for number in range(5):
        name = f"t{number}.example.com"
        path = f"/tenants/{acme.tenant_id}"
        assert (await heloise.admin("PATCH", path, {"ehlo_name": name})).status_code == 200
        await acme.message(await acme.send(), status="sent")
        assert server.sessions[-1].name == name


async def test_a_paused_profile_is_handed_nothing(start: Start, server: SmtpServer) -> None:
    """From the answer to the pause on."""
    heloise = await start()
    acme = await heloise.tenant()
    await _warm(acme, server.port)
    for _ in range(5):
        assert (await acme("POST", "/profiles/main/pause")).status_code == 200
        count = len(server.messages)
        message = await acme.send()
        assert (await acme.read(f"/messages/{message}"))["status"] == "queued"
        assert (await acme("POST", "/profiles/main/resume")).status_code == 200
        await acme.message(message, status="sent")
        assert len(server.messages) == count + 1


async def test_what_another_process_changed_holds_as_soon_as_it_has_answered(
    start: Start, server: SmtpServer
) -> None:
    """Whatever this one still has in mind of the profile: it is looked at as one is written."""
    heloise, acme, elsewhere = await _on_two(start, server)
    for _ in range(5):
        await acme.message(await _send_directly(heloise, acme), status="sent")
        count = len(server.messages)
        assert (await elsewhere("POST", "/profiles/main/pause")).status_code == 200
        message = await acme.send()
        assert (await acme.read(f"/messages/{message}"))["status"] == "queued"
        assert len(server.messages) == count
        assert (await elsewhere("POST", "/profiles/main/resume")).status_code == 200
        await acme.message(message, status="sent")


async def test_a_failing_profile_is_handed_nothing(start: Start) -> None:
    """It is tried with one message, however many come until it is time for the next."""
    async with SmtpServer() as server:
        heloise = await start(clock=HandClock())
        acme = await heloise.tenant()
        await _warm(acme, server.port, max_connections=1, max_messages_per_connection=1)
        server.script["ehlo"] = "550 5.7.1 Helo command rejected"
        count = len(server.sessions)
        messages = [await acme.send() for _ in range(10)]
        await acme.state("main", "failing")
        for message in messages:
            assert (await acme.read(f"/messages/{message}"))["status"] == "queued"
        assert len(server.sessions) == count + 1
        assert sum([len(await acme.attempts(message)) for message in messages]) == 1


async def test_a_profile_with_a_rate_is_asked_for_its_permits(
    start: Start, server: SmtpServer
) -> None:
    """Which stand in the database, for all workers together (invariant 7)."""
    heloise = await start()
    acme = await heloise.tenant()
    await _warm(acme, server.port, rate_limit={"messages": 100, "per_seconds": 1})
    for _ in range(5):
        await acme.message(await acme.send(), status="sent")
    assert await _count_handed_over(heloise) == 0


async def test_what_was_refused_is_not_handed_over(start: Start, server: SmtpServer) -> None:
    """A message beyond its tenant's quota is sent to nobody, however ready its lane is."""
    heloise = await start()
    acme = await heloise.tenant(quota={"messages_per_day": 20})
    await _warm(acme, server.port)
    accepted = [await _send_directly(heloise, acme)]
    while (answer := await acme("POST", "/messages", BODY)).status_code == ACCEPTED:
        accepted.append(answer.json()["id"])
    assert answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
    assert accepted
    await acme.all_sent(accepted)
    await acme.settled()
    assert (
        sum(b"Subject: beyond" in message.data for message in server.messages) == len(accepted) - 1
    )


async def test_a_request_that_two_replicas_get_is_sent_once(
    start: Start, server: SmtpServer
) -> None:
    """By one key: the replica that comes second hands over nothing, however ready its lane is."""
    _, acme, elsewhere = await _on_two(start, server)
    for number in range(15):
        body = BODY | {"subject": f"n{number}"}
        key = {"Idempotency-Key": f"key-{number}"}
        both = (call("POST", "/messages", body, headers=key) for call in (elsewhere, acme))
        answers = await asyncio.gather(*both)
        accepted = {answer.json()["id"] for answer in answers if answer.status_code == ACCEPTED}
        assert len(accepted) == 1
        await acme.message(accepted.pop(), status="sent")
    await acme.settled()
    for number in range(15):
        subject = f"Subject: n{number}\r\n".encode()
        assert sum(subject in message.data for message in server.messages) == 1


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_what_was_handed_over_survives_the_end_of_the_process(
    launch: Any, watched: Watched, end: str
) -> None:
    """By its lease, or given back at once: nobody needs to know how it came to its lane."""
    async with SmtpServer() as server:
        port = unused_port()
        first: Process = launch("serve", port=port, lease_seconds=1, shutdown_grace_seconds=0)
        await first.wait_ready()
        heloise = Heloise(first.url, watched)
        async with heloise.http:
            acme = await heloise.tenant()
            await _warm(acme, server.port, max_connections=1)
            gate = server.gates["mail"] = asyncio.Event()
            messages = [await acme.send(subject=f"n{number}") for number in range(5)]
            assert await _count_handed_over(heloise) > 0
            await asyncio.to_thread(first.kill if end == "kill" else first.stop)
            server.gates.clear()
            gate.set()
            second: Process = launch("serve", port=port)
            await second.wait_ready()
            await acme.all_sent(messages)
    for number in range(5):
        subject = f"Subject: n{number}\r\n".encode()
        assert sum(subject in message.data for message in server.messages) == 1
