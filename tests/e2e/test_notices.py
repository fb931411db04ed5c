"""A server goes away and comes back: the tenant hears of each once, by mail and by webhook."""

import signal
from email import message_from_bytes
from email.policy import default
from typing import Any, Final

import pytest

from tests.e2e.conftest import Start
from tests.support.harness import Heloise, Tenant, until
from tests.support.processes import dying_worker
from tests.support.processes.ports import unused_port
from tests.support.servers.receiver import Receiver
from tests.support.servers.smtp_server import SmtpServer

OPS: Final = "ops@example.com"
FAILS: Final = "Heloise: the profile main fails (connect_refused)"
WORKS: Final = "Heloise: the profile main works again"
HEARD: Final = ["profile.failing", "profile.recovered"]


async def make_tenant(heloise: Heloise, alerts_port: int, **fields: Any) -> Tenant:
    """A tenant whose profile `alerts` sends notices."""
    acme = await heloise.tenant()
    await acme.profile("alerts", alerts_port, **fields)
    body = {"notify": {"profile": "alerts", "to": [OPS]}}
    await acme.profile("spare", unused_port())
    answer = await heloise.admin("PATCH", f"/tenants/{acme.tenant_id}", body)
    assert answer.status_code == 200, answer.text
    return acme


async def sent_subjects(acme: Tenant, count: int) -> list[str]:
    """The subjects of all notices, once there are so many and all are sent."""

    async def fact() -> list[str] | None:
        notices = (await acme.read("/messages?source=notice"))["items"]
        is_done = len(notices) >= count and all(item["status"] == "sent" for item in notices)
        return [item["subject"] for item in notices[::-1]] if is_done else None

    return await until(fact)


async def mend(acme: Tenant, name: str = "main") -> None:
    """Have the profile tried at once, and wait until it works."""
    await acme("POST", f"/profiles/{name}/resume")
    await acme.state(name, "active")


async def test_a_mail_and_a_post_for_each_change(start: Start, server: SmtpServer) -> None:
    """With the server's words, where it was, and what to do; then nothing more."""
    async with Receiver() as receiver:
        heloise = await start()
        acme = await make_tenant(heloise, server.port)
        await acme.made("/webhooks", {"name": "log", "url": receiver.url, "events": HEARD})
        port = unused_port()
        await acme.profile("main", port)
        async with SmtpServer(port=port):
            await acme.message(await acme.send(profile="main"), status="sent")
        waiting = [await acme.send(profile="main") for _ in range(3)]
        await acme.state("main", "failing")
        assert await sent_subjects(acme, 1) == [FAILS]
        async with SmtpServer(port=port):
            await mend(acme)
            await acme.all_sent(waiting)
            assert await sent_subjects(acme, 2) == [FAILS, WORKS]

        async def fact() -> bool | None:
            return len(receiver.posts) >= len(HEARD) or None

        await until(fact)
    assert sorted(receiver.types) == sorted(HEARD)  # the webhook is not ordered
    for post in receiver.posts:
        assert post.event["data"]["profile"]["name"] == "main"
        assert post.event["data"]["code"] == "connect_refused"
        assert "Check `host` and `port`" in post.event["data"]["reason"]
    assert [message.recipients for message in server.messages] == [[OPS], [OPS]]
    for message in server.messages:
        text = message_from_bytes(message.data, policy=default).get_content()
        assert "Check `host` and `port`" in text
        assert f"Server: 127.0.0.1, port {port}" in text


async def test_notices_that_cannot_go_cause_no_more_notices(start: Start) -> None:
    """Both profiles share the server that went: each is told of once, when it is back."""
    heloise = await start()
    port = unused_port()
    acme = await make_tenant(heloise, port)
    await acme.profile("main", port, is_default=True)
    await acme.send(profile="main")
    await acme.state("main", "failing")
    await acme.state("alerts", "failing")

    async def fact() -> bool | None:
        return len((await acme.read("/messages?source=notice"))["items"]) >= 2 or None

    await until(fact)
    async with SmtpServer(port=port) as server:
        for name in ("main", "alerts"):
            await mend(acme, name)
        subjects = await sent_subjects(acme, 4)
    alerts_fails = FAILS.replace("main", "alerts")
    assert sorted(subjects) == sorted([FAILS, WORKS, alerts_fails, WORKS.replace("main", "alerts")])
    assert len(server.messages) == 5


@pytest.mark.slow
@pytest.mark.parametrize("point", ["before_notice", "during_notice", "after_notice"])
async def test_a_worker_that_dies_between_noticing_and_telling_loses_no_notice(
    start: Start, server: SmtpServer, launch: Any, point: str
) -> None:
    """Nor does another one repeat what it has told (invariants 1 and 3)."""
    acme = await make_tenant(await start(delivery=False), server.port)
    await acme.profile("main", unused_port())
    await acme.send(profile="main")
    dead = launch(point, module=dying_worker.__name__, lease_seconds=1)
    assert await dead.ended() == -signal.SIGKILL, dead.log.read_text()
    assert (await acme.read("/profiles/main"))["state"] == "failing"
    launch("worker")
    assert await sent_subjects(acme, 1) == [FAILS]
    await acme.message(await acme.send(profile="alerts"), status="sent")
    assert await sent_subjects(acme, 1) == [FAILS]


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_of_several_workers_one_tells(start: Start, server: SmtpServer, launch: Any) -> None:
    """All of them look for notices; the tenant gets one of each."""
    acme = await make_tenant(await start(delivery=False), server.port)
    port = unused_port()
    await acme.profile("main", port)
    for worker in [launch("worker") for _ in range(2)]:
        await until(worker.delivers)
    waiting = await acme.send(profile="main")
    await acme.state("main", "failing")
    assert await sent_subjects(acme, 1) == [FAILS]
    async with SmtpServer(port=port):
        await mend(acme)
        await acme.message(waiting, status="sent")
        assert await sent_subjects(acme, 2) == [FAILS, WORKS]
    await acme.message(await acme.send(profile="alerts"), status="sent")
    assert await sent_subjects(acme, 2) == [FAILS, WORKS]
