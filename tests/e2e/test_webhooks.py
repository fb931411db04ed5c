"""Webhooks: whoever asked to be told is told at least once, however the receiver fails."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import Heloise, Tenant, Watched, until
from tests.support.processes.ports import unused_port
from tests.support.servers.dns_server import DnsServer
from tests.support.servers.receiver import Receiver, answering
from tests.support.servers.smtp_server import SmtpServer

ANN: Final = "ann@example.org"
STORY: Final = ["message.queued", "recipient.sent", "message.sent"]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """One that takes everything."""
    async with Receiver() as receiver:
        yield receiver


async def make_webhook(tenant: Tenant, receiver: Receiver, **fields: Any) -> Any:
    """A webhook for the receiver."""
    return await tenant.made("/webhooks", {"name": "log", "url": receiver.url, **fields})


async def wait_types(receiver: Receiver, count: int, clock: HandClock | None = None) -> list[str]:
    """The types of what was posted, once there are so many."""

    async def fact() -> list[str] | None:
        if clock is not None:
            await clock.advance(seconds=1)
        return receiver.types if len(receiver.posts) >= count else None

    return await until(fact)


async def deliveries(tenant: Tenant, webhook: Any, query: str = "") -> list[Any]:
    """The log of a webhook, oldest first."""
    items: list[Any] = (await tenant.read(f"/webhooks/{webhook['id']}/deliveries?{query}"))["items"]
    return items[::-1]


async def all_are(
    tenant: Tenant, webhook: Any, status: str, clock: HandClock | None = None
) -> list[Any]:
    """The log, once everything in it has a status."""

    async def fact() -> list[Any] | None:
        if clock is not None:
            await clock.advance(seconds=1)
        items = await deliveries(tenant, webhook)
        return items if items and {delivery["status"] for delivery in items} == {status} else None

    return await until(fact)


@pytest.mark.one_database
async def test_it_is_told_and_can_verify_that(
    heloise: Heloise, server: SmtpServer, receiver: Receiver
) -> None:
    """As Standard Webhooks has it: id, time and signature; what is posted is what is read."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    await acme.message(await acme.send(), status="sent")  # before it was asked for
    webhook = await make_webhook(acme, receiver)
    message = await acme.send(ANN, metadata={"order": "42"})
    assert sorted(await wait_types(receiver, 3)) == sorted(STORY)
    for post in receiver.posts:
        event = Webhook(webhook["secret"]).verify(post.body, post.headers)
        assert event == await acme.read(f"/events/{event['id']}")
        assert post.headers["webhook-id"] == event["id"]
        assert event["ordering_key"] == message
        with pytest.raises(WebhookVerificationError):
            Webhook(webhook["secret"]).verify(post.body + b" ", post.headers)
    log = await all_are(acme, webhook, "delivered")
    assert [delivery["log"][0]["status_code"] for delivery in log] == [204] * 3
    assert "secret" not in await acme.read(f"/webhooks/{webhook['id']}")
    assert webhook["secret"] not in str(await acme.read("/audit-log"))


async def test_it_is_told_what_it_asked_for(
    heloise: Heloise, server: SmtpServer, receiver: Receiver
) -> None:
    """By type, by profile and by tag; and another tenant's events never."""
    acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
    for tenant in (acme, other):
        await tenant.profile("main", server.port, is_default=True)
    await acme.profile("second", server.port)
    await make_webhook(acme, receiver, events=["message.sent"], profiles=["main"], tags=["a", "b"])
    last = Receiver()
    async with last:
        await make_webhook(acme, last, name="last", events=["message.sent"])
        await other.message(await other.send(tags=["a"]), status="sent")
        for fields in ({}, {"tags": ["c"]}, {"tags": ["a"], "profile": "second"}):
            await acme.message(await acme.send(**fields), status="sent")
        message = await acme.send(tags=["b", "c"])
        await wait_types(last, 4)
        await wait_types(receiver, 1)
    assert [post.event["ordering_key"] for post in receiver.posts] == [message]
    assert receiver.types == ["message.sent"]


async def test_it_is_told_of_the_first_deferral_alone(
    start: Start, server: SmtpServer, receiver: Receiver
) -> None:
    """Where it asked for that; another webhook gets each, and both the end."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port)
    server.script["rcpt"] = ["451 4.3.0 Later"] * 3
    webhook = await make_webhook(acme, receiver, events=["recipient.*"], first_deferral_only=True)
    assert webhook["first_deferral_only"]
    async with Receiver() as all_events:
        every = await make_webhook(acme, all_events, name="all", events=["recipient.*"])
        assert not every["first_deferral_only"]
        message = await acme.send(ANN)
        for attempts in (1, 2, 3):

            async def is_deferred(attempts: int = attempts) -> bool | None:
                [recipient] = (await acme.read(f"/messages/{message}"))["recipients"]
                return (recipient["status"], recipient["attempts"]) == (
                    "deferred",
                    attempts,
                ) or None

            await until(is_deferred)
            await acme.settled()
            await clock.advance(hours=5)
        await acme.message(message, status="sent")
        assert sorted(await wait_types(all_events, 4, clock)) == [
            *["recipient.deferred"] * 3,
            "recipient.sent",
        ]
        assert sorted(await wait_types(receiver, 2, clock)) == [
            "recipient.deferred",
            "recipient.sent",
        ]
    body = {"first_deferral_only": False}
    after = await acme("PATCH", f"/webhooks/{webhook['id']}", body)
    assert after.json()["first_deferral_only"] is False
    entry = (await acme.read("/audit-log?action=webhook.update"))["items"][0]
    assert entry["changes"]["event_filter"]["after"]["first_deferral_only"] is False


FAILURES: Final = {
    "500": (answering("500 Internal Server Error", body=b"oops"), 500, "oops", None),
    "redirect": (answering("302 Found", "Location: http://127.0.0.1:1/"), 302, "", None),
    "closes": (None, None, None, "disconnected"),
    "garbage": (b"SMTP ready\r\n\r\n", None, None, ""),
    "huge": (answering("503 Busy", body=b"x" * 500_000), 503, "x" * 1000, None),
    "binary": (answering("400 Bad Request", body=b"\x00\xff"), 400, "\ufffd\ufffd", None),
}


@pytest.mark.one_database
@pytest.mark.parametrize("failure", FAILURES)
async def test_it_is_told_again_where_it_failed(
    start: Start, server: SmtpServer, receiver: Receiver, failure: str
) -> None:
    """After some seconds, with the same id; what was said is in the log."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port)
    answer, status, body, error = FAILURES[failure]
    receiver.answers = [answer]
    webhook = await make_webhook(acme, receiver, events=["message.queued"])
    await acme.send()
    await wait_types(receiver, 1, clock)
    await wait_types(receiver, 2, clock)
    first, second = receiver.posts
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    [delivery] = await all_are(acme, webhook, "delivered", clock)
    failed, second_post = delivery["log"]
    assert (failed["status_code"], failed["response"]) == (status, body)
    assert error is None or error in failed["error"]
    assert (second_post["status_code"], delivery["attempts"]) == (204, 2)


@pytest.mark.one_database
async def test_one_that_is_slow_holds_up_nobody(
    heloise: Heloise, server: SmtpServer, receiver: Receiver
) -> None:
    """Neither other webhooks nor any mail."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    async with Receiver() as slow:
        slow.gate.clear()
        await make_webhook(acme, slow, name="slow")
        await make_webhook(acme, receiver)
        for _ in range(5):
            await acme.message(await acme.send(), status="sent")
        await wait_types(receiver, 15)
        assert len(slow.posts) <= 8


async def test_hanging_webhooks_of_one_tenant_hold_up_no_other(
    heloise: Heloise, server: SmtpServer, receiver: Receiver
) -> None:
    """Another tenant's event is posted while every one of them still waits for an answer."""
    acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
    for tenant in (acme, other):
        await tenant.profile("main", server.port)
    async with Receiver() as dead:
        dead.gate.clear()
        hooks = [await make_webhook(acme, dead, name=f"dead-{n}") for n in range(9)]
        for _ in range(3):
            await acme.send()
        await wait_types(dead, len(hooks))
        await make_webhook(other, receiver, events=["message.queued"])
        await other.send()
        assert await wait_types(receiver, 1) == ["message.queued"]
        for hook in hooks:
            assert {post["attempts"] for post in await deliveries(acme, hook)} <= {0}
        dead.gate.set()
        for hook in hooks:  # so that nothing is being posted when the service stops
            await all_are(acme, hook, "delivered")


async def test_in_order_where_that_is_asked_for(
    start: Start, server: SmtpServer, receiver: Receiver
) -> None:
    """The second event of a message waits until the first was taken; other messages do not."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port)
    receiver.answers = [answering("500 No"), answering("500 No")]
    webhook = await make_webhook(acme, receiver, ordered=True)
    one = await acme.send()
    await acme.message(one, status="sent")
    await wait_types(receiver, 1, clock)
    other = await acme.send()
    await acme.message(other, status="sent")
    await wait_types(receiver, 4, clock)  # the first again, or those of the other
    await clock.advance(minutes=10)
    await all_are(acme, webhook, "delivered", clock)
    for message in (one, other):
        event_types = [
            e.event["type"] for e in receiver.posts if e.event["ordering_key"] == message
        ]
        assert list(dict.fromkeys(event_types)) == STORY
    assert len(receiver.posts) >= 8


@pytest.mark.one_database
@pytest.mark.slow
async def test_after_days_of_failing_it_is_disabled_and_that_is_told(
    start: Start, server: SmtpServer, receiver: Receiver
) -> None:
    """Each event is given up after ten times; a webhook after five days; nothing is lost by it."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port)
    dead = Receiver(port=unused_port())
    webhook = await make_webhook(acme, dead, events=["message.queued"])
    await make_webhook(acme, receiver, name="watch", events=["webhook.*"])
    await acme.send()
    [delivery] = await all_are_after_hours(acme, webhook, "failed", clock)
    assert (delivery["attempts"], len(delivery["log"])) == (10, 10)
    failing = await acme.read(f"/webhooks/{webhook['id']}")
    assert None not in (failing["failing_since"], failing["last_error_at"])
    assert failing["last_error"] in str(delivery["log"])
    assert failing["waiting_since"] is None
    await clock.advance(days=3)
    late = await acme.send()
    assert await wait_types(receiver, 1, clock) == ["webhook.disabled"]
    assert receiver.posts[0].event["data"]["webhook"] == webhook["id"]
    body = await acme.read(f"/webhooks/{webhook['id']}")
    assert body["enabled"] is False
    assert "failing since" in body["disabled_reason"]
    async with dead:
        await acme("PATCH", f"/webhooks/{webhook['id']}", {"enabled": True})
        await clock.advance(hours=1)
        await wait_types(dead, 1, clock)
        assert dead.posts[0].event["ordering_key"] == late


async def all_are_after_hours(
    tenant: Tenant, webhook: Any, status: str, clock: HandClock
) -> list[Any]:
    """The log, once everything in it has a status, however long that takes."""

    async def fact() -> list[Any] | None:
        await clock.advance(hours=1)
        items = await deliveries(tenant, webhook)
        return items if items and {delivery["status"] for delivery in items} == {status} else None

    return await until(fact)


@pytest.mark.one_database
async def test_one_that_is_gone_is_disabled_at_once(
    start: Start, server: SmtpServer, receiver: Receiver
) -> None:
    """410 says that nothing more is wanted there."""
    acme = await (await start()).tenant()
    await acme.profile("main", server.port)
    receiver.answers = [answering("410 Gone")]
    webhook = await make_webhook(acme, receiver, events=["message.queued"])
    await acme.send()

    async def is_disabled() -> bool | None:
        return not (await acme.read(f"/webhooks/{webhook['id']}"))["enabled"] or None

    await until(is_disabled)
    assert len(receiver.posts) == 1


async def test_a_message_lists_what_webhooks_were_told_of_it(
    heloise: Heloise, server: SmtpServer, receiver: Receiver
) -> None:
    """Of all webhooks, and of no other message; another tenant is not told."""
    acme, other = await heloise.tenant(), await heloise.tenant("other")
    await acme.profile("main", server.port)
    hooks = [
        await make_webhook(acme, receiver, name=name, events=["message.sent"])
        for name in ("one", "two")
    ]
    message, _ = await acme.send(), await acme.send()
    path = f"/messages/{message}/webhook-deliveries"

    async def wait_delivered() -> list[Any] | None:
        items = (await acme.read(f"{path}?status=delivered"))["items"]
        return items if len(items) == len(hooks) else None

    delivered_items = await until(wait_delivered)
    assert {delivery["webhook_id"] for delivery in delivered_items} == {
        hook["id"] for hook in hooks
    }
    assert [delivery["log"][0]["status_code"] for delivery in delivered_items] == [204, 204]
    assert (await other("GET", path)).status_code == 404


@pytest.mark.one_database
@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_waited_for(
    start: Start, server: SmtpServer, receiver: Receiver, form: str
) -> None:
    """Where it is longer than the wait would be, in either form of RFC 9110 section 10.2.3."""
    clock = HandClock()
    date = format_datetime(clock.now() + timedelta(minutes=10), usegmt=True)
    asked = "600" if form == "seconds" else date
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port)
    receiver.answers = [answering("429 Too Many Requests", f"Retry-After: {asked}")]
    webhook = await make_webhook(acme, receiver, events=["message.queued"])
    await acme.send()
    await wait_types(receiver, 1, clock)

    async def first_error() -> str | None:
        [delivery] = await deliveries(acme, webhook)
        return delivery["next_attempt_at"] if delivery["attempts"] == 1 else None

    due = await until(first_error)
    [delivery] = await deliveries(acme, webhook)
    started_at = datetime.fromisoformat(delivery["log"][0]["started_at"])
    assert datetime.fromisoformat(due) - started_at > timedelta(minutes=9)
    await clock.advance(seconds=300)
    await acme.send("other@example.org")
    await wait_types(receiver, 2, clock)
    assert {post.event["ordering_key"] for post in receiver.posts[:2]} != {
        receiver.posts[0].event["ordering_key"]
    }
    await clock.advance(seconds=600)
    await all_are(acme, webhook, "delivered", clock)


async def test_replay(heloise: Heloise, server: SmtpServer, receiver: Receiver) -> None:
    """By hand or many at once, with the ids that they had; of what is named whatever it is for."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    await acme.message(await acme.send(), status="sent")
    before = (await acme.read("/events"))["items"]
    webhook = await make_webhook(acme, receiver, events=["message.sent"])
    path = f"/webhooks/{webhook['id']}/replay"

    async def replay(**which: Any) -> int:
        answer = await acme("POST", path, which)
        assert answer.json()["next_cursor"] is None
        return int(answer.json()["replayed"])

    assert await replay(events=[before[0]["id"]]) == 1
    assert await wait_types(receiver, 1) == ["message.queued"]
    await all_are(acme, webhook, "delivered")
    since = before[0]["timestamp"]
    assert await replay(created_after=since) == 1
    assert await wait_types(receiver, 2) == ["message.queued", "message.sent"]
    await all_are(acme, webhook, "delivered")
    assert await replay(status="delivered") == 1
    assert await wait_types(receiver, 3) == ["message.queued", "message.sent", "message.sent"]
    assert receiver.posts[1].headers["webhook-id"] == receiver.posts[2].headers["webhook-id"]
    assert await replay(status="failed") == 0
    assert (await acme("POST", path, {})).status_code == 422


@pytest.mark.one_database
async def test_a_secret_is_replaced_with_an_overlap(
    start: Start, server: SmtpServer, receiver: Receiver
) -> None:
    """Both verify for as long as was said, then the new one alone."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port)
    webhook = await make_webhook(acme, receiver, events=["message.queued"])
    answer = await acme("POST", f"/webhooks/{webhook['id']}/rotate", {"overlap_seconds": 3600})
    assert answer.status_code == 200
    former, new = webhook["secret"], answer.json()["secret"]
    await acme.send()
    await wait_types(receiver, 1, clock)
    signed = receiver.posts[0].headers["webhook-signature"].split()
    assert signed == [_signature(receiver.posts[0], secret) for secret in (new, former)]
    await clock.advance(hours=2)
    await acme.send()
    await wait_types(receiver, 2, clock)
    last = receiver.posts[-1]
    assert last.headers["webhook-signature"] == _signature(last, new)


def _signature(post: Any, secret: str) -> str:
    moment = datetime.fromtimestamp(int(post.headers["webhook-timestamp"]), UTC)
    return Webhook(secret).sign(post.headers["webhook-id"], moment, post.body.decode())


URLS: Final = [
    "http://example.com/",
    "https://example.com:8443/",
    "https://localhost/",
    "https://10.0.0.1/",
    "https://[::ffff:7f00:1]/",
]


@pytest.mark.one_database
@pytest.mark.parametrize("url", URLS)
async def test_nothing_is_posted_into_the_network_of_the_service(start: Start, url: str) -> None:
    """What is plain is refused at once; a name that leads there is found when it is posted to."""
    acme = await (await start(allow_private_hosts=False)).tenant()
    refusal = await acme("POST", "/webhooks", {"name": "x", "url": url})
    assert refusal.status_code == 422
    assert refusal.json()["errors"][0]["loc"] == ["body", "url"]


@pytest.mark.one_database
async def test_a_name_that_leads_there_is_not_followed(start: Start) -> None:
    """The address is checked at each connection, and it is that address which is connected to."""
    with DnsServer() as dns:
        dns.add("inside.example.com", "A", "10.0.0.1")
        heloise = await start(allow_private_hosts=False, dns_servers=dns.setting)
        acme = await heloise.tenant()
        webhook = await acme.made("/webhooks", {"name": "x", "url": "https://inside.example.com/"})
        await acme.made("/profiles", {"name": "box", "transport": "sandbox", "default_from": ANN})
        await acme("POST", "/profiles/box/pause")

        async def first_refusal() -> Any:
            items = await deliveries(acme, webhook)
            return next((delivery["log"][0] for delivery in items if delivery["log"]), None)

        assert "public address" in (await until(first_refusal))["error"]


async def test_what_was_in_hand_when_a_worker_died_is_told_by_another(
    launch: Any, start: Start, watched: Watched, server: SmtpServer, receiver: Receiver
) -> None:
    """At least once, and with the same id."""
    process = launch("serve", port=unused_port())
    await process.wait_ready()
    heloise = Heloise(process.url, watched)
    async with heloise.http:
        acme = await heloise.tenant()
        await acme.profile("main", server.port)
        receiver.gate.clear()
        webhook = await make_webhook(acme, receiver, events=["message.sent"])
        await acme.send()
        await wait_types(receiver, 1)
        process.kill()
    receiver.gate.set()
    clock = HandClock()
    repeated = await start(clock=clock)
    acme = Tenant(repeated.http, acme.headers)
    await clock.advance(minutes=5)
    await wait_types(receiver, 2, clock)
    await all_are(acme, webhook, "delivered", clock)
    first, second = receiver.posts
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
