"""Invariant 7: limits wait; they never fail a message."""

import asyncio
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import Process, Tenant, Watched, serving, settings, until
from tests.support.servers.smtp_server import SmtpServer


async def test_a_rate_limit_holds_messages_back_until_their_time(
    start: Start, server: SmtpServer
) -> None:
    """As many as it allows go at once, the others as it refills; no attempt is used for waiting."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port, rate_limit={"messages": 3, "per_seconds": 60})
    messages = [await acme.send() for _ in range(5)]
    await server.wait_for_messages(3)
    await acme.all_sent(messages[:3])
    await clock.advance(seconds=19)
    await acme.send(profile="main")
    assert len(server.messages) == 3
    await clock.advance(seconds=1)
    await server.wait_for_messages(4)
    await clock.advance(seconds=40)
    await server.wait_for_messages(6)
    body = await acme.message(messages[4], status="sent")
    assert body["recipients"][0]["attempts"] == 1


async def test_a_profile_never_has_more_connections_than_it_may(start: Start) -> None:
    """However much waits."""
    async with SmtpServer() as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port, max_connections=2)
        messages = [await acme.send() for _ in range(30)]
        await acme.all_sent(messages)
        assert server.most_open_connections <= 2


@pytest.mark.one_database
async def test_a_connection_carries_so_many_messages_and_no_more(
    start: Start, server: SmtpServer
) -> None:
    """Then it says QUIT, and the next one is opened."""
    acme = await (await start()).tenant()
    await acme.profile("main", server.port, max_connections=1, max_messages_per_connection=2)
    for _ in range(5):
        await acme.message(await acme.send(), status="sent")
    assert [len(session.messages) for session in server.sessions] == [2, 2, 1]
    await server.wait_until(lambda server: server.sessions[1].commands[-1] == "QUIT")


async def test_a_rate_limit_may_count_recipients(start: Start, server: SmtpServer) -> None:
    """A message goes where there is a permit, and what it takes beyond delays the next one."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    limit = {"recipients": 6, "per_seconds": 60, "burst": 4}
    await acme.profile("main", server.port, rate_limit=limit)
    await acme("POST", "/profiles/main/pause")
    for _ in range(3):
        await acme.send([f"a{n}@example.org" for n in range(3)])
    await acme("POST", "/profiles/main/resume")
    await server.wait_for_messages(2)  # 6 recipients: the bucket owes 2
    await clock.advance(seconds=29)
    await acme.message(await acme.send(profile="main"), status="queued")
    assert len(server.messages) == 2
    await clock.advance(seconds=1)
    await server.wait_for_messages(3)


async def test_a_tenants_rate_limit_holds_over_all_of_its_profiles(
    start: Start, server: SmtpServer
) -> None:
    """And over no other tenant's."""
    clock = HandClock()
    heloise = await start(clock=clock)
    acme = await heloise.tenant("acme", rate_limit={"messages": 3, "per_seconds": 60})
    other = await heloise.tenant("other")
    for name in ("one", "two"):
        await acme.profile(name, server.port)
    await other.profile("main", server.port)
    messages = [await acme.send(profile=name) for _ in range(2) for name in ("one", "two")]
    await server.wait_for_messages(3)
    await other.message(await other.send(), status="sent")
    waiting = [(await acme.read(f"/messages/{message}"))["status"] for message in messages]
    assert sorted(waiting) != ["sent"] * 4
    await clock.advance(seconds=20)
    await acme.all_sent(messages)


async def test_a_rate_limit_holds_over_a_restart(
    start: Start, migrated_url: str, watched: Watched, server: SmtpServer
) -> None:
    """What was spent is in the database."""
    clock = HandClock()
    limit = {"messages": 2, "per_seconds": 60}
    async with serving(settings(migrated_url), watched, clock=clock) as heloise:
        acme = await heloise.tenant()
        await acme.profile("main", server.port, rate_limit=limit)
        for _ in range(3):
            await acme.send()
        await server.wait_for_messages(2)
    heloise = await start(clock=clock)
    second_tenant = Tenant(heloise.http, acme.headers, acme.tenant_id)
    assert [
        item["status"] for item in (await second_tenant.read("/messages?status=queued"))["items"]
    ] == ["queued"]
    await clock.advance(seconds=30)
    await server.wait_for_messages(3)


async def test_a_server_that_throttles_gets_fewer_connections(start: Start) -> None:
    """Half of them at each such answer, and one more after so many successes (AIMD)."""
    clock = HandClock()
    async with SmtpServer({"mail": ["450 4.7.28 Too many messages, slow down"]}) as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("main", server.port, max_connections=8)
        first = await acme.send()
        await acme.recipient(first, "ann@example.org", status="deferred")

        async def concurrency(expected: int) -> bool | None:
            return (await acme.read("/profiles/main"))["concurrency"] == expected or None

        await until(lambda: concurrency(4))
        for _ in range(4):
            await acme.message(await acme.send(), status="sent")
        await until(lambda: concurrency(5))


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_workers_share_a_profiles_connections(start: Start, launch: Any) -> None:
    """Together never more than the profile allows, and each worker has its part."""
    async with SmtpServer() as server:
        server.gates["dot"] = asyncio.Event()
        acme = await (await start(delivery=False)).tenant()
        for _ in range(2):
            worker: Process = launch("worker")
            await until(worker.delivers)
        await acme.profile("main", server.port, max_connections=4)
        messages = await asyncio.gather(*(acme.send() for _ in range(100)))
        await server.wait_until(lambda server: server.open_connections >= 2)
        server.gates.pop("dot").set()
        await acme.all_sent(messages)
        assert server.most_open_connections <= 4
        assert len(server.messages) == len(messages)
