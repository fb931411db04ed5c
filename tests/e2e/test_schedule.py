"""A message is sent when it is to be, and not where somebody has cancelled it; and once more."""

import asyncio
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import SMTP
from typing import Any, Final

import pytest

from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import Heloise, Tenant
from tests.support.servers.smtp_server import DISCONNECT, SmtpServer

ANN: Final = "ann@example.org"
BOB: Final = "bob@example.org"


def later(clock: HandClock, **units: float) -> str:
    """A moment to come, as a request has it."""
    return (clock.now() + timedelta(**units)).isoformat()


async def assert_refused(answer: Any, status: int, slug: str) -> str:
    """The detail of a problem of this type."""
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")
    return str(answer.json()["detail"])


@pytest.mark.one_database
async def test_it_waits_for_its_time(start: Start, server: SmtpServer) -> None:
    """It says `scheduled` until then, and carries that time as its date; others do not wait."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port)
    send_at = later(clock, days=2)
    scheduled = await acme.send(BOB, send_at=send_at)
    await acme.message(await acme.send(ANN), status="sent")
    body = await acme.read(f"/messages/{scheduled}")
    assert body["status"] == "scheduled"
    assert datetime.fromisoformat(body["send_at"]) == datetime.fromisoformat(send_at)
    expires_at, at = (datetime.fromisoformat(body[name]) for name in ("expires_at", "send_at"))
    assert expires_at - at == timedelta(days=3)
    await clock.advance(days=1, hours=23)
    await acme.message(await acme.send(ANN), status="sent")
    assert (await acme.read(f"/messages/{scheduled}"))["status"] == "scheduled"
    assert [message.recipients for message in server.messages] == [[ANN], [ANN]]
    await clock.advance(hours=1, seconds=1)
    await acme.message(scheduled, status="sent")
    parsed: Any = message_from_bytes(server.messages[-1].data, policy=SMTP)
    assert parsed["Date"].datetime == at.replace(microsecond=0)


async def test_lists_tell_what_is_scheduled_from_what_waits(start: Start) -> None:
    """By `status`, at any moment."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", 25)
    await acme("POST", "/profiles/main/pause")
    waiting = await acme.send(ANN)
    scheduled = await acme.send(ANN, send_at=later(clock, hours=1))

    async def list_ids(status: str) -> list[str]:
        page = await acme.read(f"/messages?status={status}&recipient={ANN}")
        assert {item["status"] for item in page["items"]} <= {status}
        alone = await acme.read(f"/messages?status={status}")
        assert alone == page
        return [item["id"] for item in page["items"]]

    assert (await list_ids("queued"), await list_ids("scheduled")) == ([waiting], [scheduled])
    await clock.advance(hours=2)
    assert (await list_ids("queued"), await list_ids("scheduled")) == ([scheduled, waiting], [])


@pytest.mark.one_database
async def test_a_time_that_is_past_is_now(start: Start, server: SmtpServer) -> None:
    """In whatever zone it is given."""
    clock = HandClock(datetime(2026, 7, 1, 12, tzinfo=UTC))
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port)
    message = await acme.send(send_at="2026-07-01T13:59:00+02:00")
    await acme.message(message, status="sent")
    assert (await acme.read(f"/messages/{message}"))["send_at"] == "2026-07-01T11:59:00Z"
    ahead = await acme.send(send_at="2026-07-01T14:01:00+02:00")
    assert (await acme.read(f"/messages/{ahead}"))["status"] == "scheduled"


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"send_at": {"days": 367}}, "send_at"),
        ({"send_at": {"days": 5}, "expires_at": {"days": 4}}, "expires_at"),
        ({"send_at": {"days": 5}, "expires_at": {"days": 36}}, "expires_at"),
    ],
)
async def test_a_wrong_time_is_refused(
    start: Start, fields: dict[str, dict[str, float]], loc: str
) -> None:
    """Within a year; given up after it was to be sent, and not 30 days later."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", 25)
    times = {name: later(clock, **units) for name, units in fields.items()}
    answer = await acme("POST", "/messages", {"to": [ANN], "text": "x"} | times)
    await assert_refused(answer, 422, "invalid-request")
    assert answer.json()["errors"][0]["loc"] == ["body", loc]


async def test_what_is_cancelled_is_not_sent(start: Start, server: SmtpServer) -> None:
    """Scheduled or waiting; who asks again is told that there is nothing left."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port)
    scheduled = await acme.send(ANN, send_at=later(clock, hours=1))
    answer = await acme("POST", f"/messages/{scheduled}/cancel")
    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled"
    await clock.advance(hours=2)
    await acme.message(await acme.send(BOB), status="sent")
    assert [message.recipients for message in server.messages] == [[BOB]]
    second = await acme("POST", f"/messages/{scheduled}/cancel")
    await assert_refused(second, 409, "nothing-to-cancel")
    entry = (await acme.read("/audit-log?action=message.cancel"))["items"][0]
    assert entry["object_id"] == scheduled
    assert entry["changes"]["status"] == {"before": "scheduled", "after": "cancelled"}


async def test_each_recipient_says_how_far_it_came(start: Start) -> None:
    """Who has it has it; who was deferred will not get it."""
    clock = HandClock()
    async with SmtpServer({"rcpt": [None, "451 4.3.0 Later"]}) as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("main", server.port)
        message = await acme.send([ANN, BOB])
        await acme.recipient(message, BOB, status="deferred")
        await acme.settled()
        answer = (await acme("POST", f"/messages/{message}/cancel")).json()
        assert answer["status"] == "partially_sent"
        assert [recipient["status"] for recipient in answer["recipients"]] == ["sent", "cancelled"]


@pytest.mark.one_database
async def test_what_is_being_sent_cannot_be_cancelled(heloise: Heloise) -> None:
    """The answer says so, and afterwards that it was sent."""
    async with SmtpServer() as server:
        gate = server.gates["dot"] = asyncio.Event()
        acme = await heloise.tenant()
        await acme.profile("main", server.port)
        message = await acme.send(ANN)
        await acme.message(message, status="sending")
        answer = await acme("POST", f"/messages/{message}/cancel")
        await assert_refused(answer, 409, "message-in-transmission")
        gate.set()
        await acme.message(message, status="sent")
        answer = await acme("POST", f"/messages/{message}/cancel")
        await assert_refused(answer, 409, "nothing-to-cancel")


async def fail_message(acme: Tenant, server: SmtpServer, **fields: Any) -> str:
    """A message that one of two recipients has not got."""
    server.script["rcpt"] = [None, "550 5.1.1 No such user"]
    await acme.profile("main", server.port)
    message = await acme.send([ANN, BOB], metadata={"order": "42"}, tags=["receipt"], **fields)
    await acme.message(message, status="partially_sent")
    await acme.settled()
    return message


async def test_who_did_not_get_it_gets_it_once_more(heloise: Heloise, server: SmtpServer) -> None:
    """The same bytes, as a message of its own; the first one stays as it was."""
    acme = await heloise.tenant()
    message = await fail_message(acme, server)
    before = await acme.read(f"/messages/{message}")
    answer = await acme("POST", f"/messages/{message}/retry", {})
    assert answer.status_code == 202
    made = answer.json()
    assert answer.headers["Location"] == f"/messages/{made['id']}"
    assert made["retry_of"] == message
    assert [recipient["address"] for recipient in made["recipients"]] == [BOB]
    for same in ("message_id_header", "subject", "metadata", "tags", "from", "profile"):
        assert made[same] == before[same]
    await acme.message(made["id"], status="sent")
    assert [mail.recipients for mail in server.messages] == [[ANN], [BOB]]
    assert server.messages[0].data == server.messages[1].data
    assert await acme.read(f"/messages/{message}") == before


async def test_a_retry_with_a_key_is_one(heloise: Heloise, server: SmtpServer) -> None:
    """However often it comes; the same key for a message is another request."""
    acme = await heloise.tenant()
    message = await fail_message(acme, server)
    headers = {"Idempotency-Key": "again"}
    answers = [
        await acme("POST", f"/messages/{message}/retry", {}, headers=headers) for _ in range(3)
    ]
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = await acme("POST", "/messages", {"to": [ANN], "text": "x"}, headers=headers)
    await assert_refused(other, 422, "idempotency-key-reused")


@pytest.mark.one_database
async def test_what_cannot_be_retried_is_told(heloise: Heloise, server: SmtpServer) -> None:
    """Nobody failed, somebody else did, the content is gone, or the profile is."""
    acme = await heloise.tenant()
    message = await fail_message(acme, server)
    path = f"/messages/{message}/retry"
    whole = await acme.message(await acme.send(ANN), status="sent")
    answer = await acme("POST", f"/messages/{whole['id']}/retry", {})
    await assert_refused(answer, 409, "nothing-to-retry")
    detail = await assert_refused(
        await acme("POST", path, {"recipients": [ANN]}), 409, "nothing-to-retry"
    )
    assert ANN in detail
    other = await heloise.tenant("other")
    await assert_refused(await other("POST", path, {}), 404, "message-not-found")
    await acme("DELETE", f"/recipients/{BOB}")
    await assert_refused(await acme("POST", path, {}), 410, "content-wiped")


@pytest.mark.one_database
async def test_a_retry_keeps_to_the_rules_of_today(heloise: Heloise, server: SmtpServer) -> None:
    """Whom the tenant may send as, and to, may have changed."""
    acme = await heloise.tenant()
    message = await fail_message(acme, server)
    rule = {"allowed_recipient_domains": ["example.com"]}
    await heloise.admin("PATCH", f"/tenants/{acme.tenant_id}", rule)
    answer = await acme("POST", f"/messages/{message}/retry", {})
    await assert_refused(answer, 403, "recipient-not-allowed")
    rule = {"allowed_recipient_domains": [], "allowed_from": ["*@example.net"]}
    await heloise.admin("PATCH", f"/tenants/{acme.tenant_id}", rule)
    answer = await acme("POST", f"/messages/{message}/retry", {})
    await assert_refused(answer, 403, "sender-not-allowed")
    await acme("DELETE", "/profiles/main?cancel_pending=true")
    answer = await acme("POST", f"/messages/{message}/retry", {})
    await assert_refused(answer, 404, "profile-not-found")


@pytest.mark.one_database
async def test_a_sensitive_message_is_sent_once(heloise: Heloise) -> None:
    """Its content went with its outcome."""
    async with SmtpServer({"dot": ["554 5.7.1 No", DISCONNECT]}) as server:
        acme = await heloise.tenant()
        await acme.profile("main", server.port)
        message = await acme.send(ANN, sensitive=True)
        await acme.message(message, status="failed")
        answer = await acme("POST", f"/messages/{message}/retry", {})
        await assert_refused(answer, 410, "content-sensitive")


async def reschedule(tenant: Tenant, message: str, **fields: Any) -> Any:
    """The answer to a change of what is scheduled."""
    return await tenant("PATCH", f"/messages/{message}", fields)


@pytest.mark.one_database
async def test_another_time(start: Start, server: SmtpServer) -> None:
    """Earlier or later, with as much time to be tried in; once it has come nothing changes."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port)
    message = await acme.send(ANN, send_at=later(clock, days=2))
    before = await acme.read(f"/messages/{message}")
    answer = await reschedule(acme, message, send_at=later(clock, days=1), priority="high")
    assert answer.status_code == 200, answer.text
    after = await acme.read(f"/messages/{message}")
    assert (after["status"], after["priority"]) == ("scheduled", "high")
    expiries = [datetime.fromisoformat(message["expires_at"]) for message in (before, after)]
    assert expiries[0] - expiries[1] == timedelta(days=1)
    await clock.advance(hours=23)
    assert (await acme.read(f"/messages/{message}"))["status"] == "scheduled"
    await clock.advance(hours=1)
    await acme.message(message, status="sent")
    late = await reschedule(acme, message, send_at=later(clock, days=1))
    await assert_refused(late, 409, "message-not-scheduled")


@pytest.mark.one_database
async def test_at_once_after_all(start: Start, server: SmtpServer) -> None:
    """With a time that has passed, or none; that is an event, as is any change of a status."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port)
    message = await acme.send(ANN, send_at=later(clock, days=2))
    assert (await reschedule(acme, message, send_at=None)).status_code == 200
    await acme.message(message, status="sent")
    story = (await acme.read(f"/events?message={message}"))["items"]
    assert [event["type"] for event in story] == [
        *("message.scheduled", "message.queued", "recipient.sent", "message.sent")
    ]
    for fields in ({"send_at": later(clock, days=400)}, {"expires_at": later(clock, days=90)}):
        other = await acme.send(ANN, send_at=later(clock, days=2))
        assert (await reschedule(acme, other, **fields)).status_code == 422


async def act(tenant: Tenant, action: str, **fields: Any) -> Any:
    """What was done to many."""
    answer = await tenant("POST", "/messages/actions", {"action": action, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_many_are_counted_first_and_then_cancelled(start: Start, server: SmtpServer) -> None:
    """Those of a filter and no others, of this tenant alone."""
    clock = HandClock()
    heloise = await start(clock=clock)
    acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
    for tenant in (acme, other):
        await tenant.profile("main", server.port)
    meant = [await acme.send(ANN, send_at=later(clock, days=1), tags=["x"]) for _ in range(3)]
    other_ids = [
        await acme.send(ANN, send_at=later(clock, days=1), tags=["y"]),
        await other.send(ANN, send_at=later(clock, days=1), tags=["x"]),
    ]
    message_filter = {"status": "scheduled", "tag": "x"}
    counted = await act(acme, "cancel", filter=message_filter)
    assert counted == {
        "dry_run": True,
        "matched": 3,
        "done": 0,
        "skipped": {},
        "next_cursor": None,
    }
    assert (await acme.read(f"/messages/{meant[0]}"))["status"] == "scheduled"
    counts = await act(acme, "cancel", filter=message_filter, dry_run=False)
    assert (counts["matched"], counts["done"], counts["skipped"]) == (3, 3, {})
    for message in meant:
        assert (await acme.read(f"/messages/{message}"))["status"] == "cancelled"
    assert (await acme.read(f"/messages/{other_ids[0]}"))["status"] == "scheduled"
    assert (await other.read(f"/messages/{other_ids[1]}"))["status"] == "scheduled"
    second = await act(acme, "cancel", filter={"tag": "x"}, dry_run=False)
    assert second["skipped"] == {"nothing-to-cancel": 3}
    for body in (
        {"filter": {}},
        {"filter": message_filter, "as": "sent"},
        {"filter": {"tags": "x"}},
    ):
        answer = await acme("POST", "/messages/actions", {"action": "cancel", **body})
        assert answer.status_code == 422


async def test_many_are_retried_or_resolved(heloise: Heloise, server: SmtpServer) -> None:
    """Each as by itself."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    server.script["rcpt"] = ["550 5.1.1 No such user"] * 2
    for _ in range(2):
        await acme.message(await acme.send(ANN), status="failed")
    counts = await act(acme, "retry", filter={"status": "failed"}, dry_run=False)
    assert counts["done"] == 2
    retried = [item for item in (await acme.read("/messages"))["items"] if item["retry_of"]]
    assert len(retried) == 2
    for retry in retried:
        await acme.message(retry["id"], status="sent")
    server.script["dot"] = [None] * len(server.messages) + [DISCONNECT] * 2
    held = [await acme.send(ANN, guarantee="at_most_once") for _ in range(2)]
    for message in held:
        await acme.message(message, status="held")
    counts = await act(acme, "resolve", filter={"status": "held"}, dry_run=False, **{"as": "sent"})
    assert counts["done"] == 2
    await acme.all_sent(held)
