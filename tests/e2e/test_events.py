"""What happened is told once, in order, and without gaps (invariant 4)."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import httpx
import pytest

from app.domain.delivery.status import FINAL
from app.domain.events import EventType, message_event_type, recipient_event_type, report_event_type
from app.domain.inbound.bounce_parser import ReportKind
from app.domain.types import MessageStatus, RecipientStatus
from tests.e2e.conftest import Start
from tests.support.api_client import bearer
from tests.support.hand_clock import HandClock
from tests.support.harness import Heloise, Tenant, Watched, until
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import DISCONNECT, SmtpServer

ANN: Final = "ann@example.org"
BOB: Final = "bob@example.org"
KILLS: Final = 2
ENDS: Final = {f"recipient.{status}" for status in FINAL}


async def all_events(tenant: Tenant, query: str = "") -> list[Any]:
    """Every event of a tenant, read in small parts."""
    events, cursor = list[Any](), ""
    while True:
        page = await tenant.read(f"/events?limit=3{query}{cursor}")
        events += page["items"]
        if len(page["items"]) < 3 or page["next_cursor"] is None:
            return events
        cursor = f"&cursor={page['next_cursor']}"


async def types(tenant: Tenant, query: str = "") -> list[str]:
    """What happened, by type, in order."""
    return [event["type"] for event in await all_events(tenant, query)]


async def until_event(tenant: Tenant, kind: str, query: str = "") -> Any:
    """The first event of a type, once it is there."""

    async def fact() -> Any:
        return next((e for e in await all_events(tenant, query) if e["type"] == kind), None)

    return await until(fact)


async def test_the_story_of_a_message(start: Start, server: SmtpServer) -> None:
    """Queued, deferred, sent: each with what the server said then, and what the caller gave."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    profile = await acme.profile("main", server.port)
    server.script["rcpt"] = ["451 4.3.0 Later"]
    message = await acme.send(ANN, tags=["receipt"], metadata={"order": "42"})
    await acme.recipient(message, ANN, status="deferred")
    await acme.settled()
    await clock.advance(hours=1)
    sent = await acme.message(message, status="sent")
    story = await all_events(acme, f"&message={message}")
    assert [event["type"] for event in story] == [
        *("message.queued", "recipient.deferred", "recipient.sent", "message.sent")
    ]
    deferred = story[1]["data"]
    assert deferred["recipient"]["last_reply"] | {"classification": ""} == {
        "code": 451,
        "enhanced_code": "4.3.0",
        "text": "Later",
        "classification": "",
    }
    assert (deferred["recipient"]["status"], deferred["recipient"]["attempts"]) == ("deferred", 1)
    assert deferred["recipient"]["next_attempt_at"] is not None
    assert story[2]["data"]["recipient"] | {"last_reply": None} == {
        "address": ANN,
        "name": "",
        "kind": "to",
        "status": "sent",
        "attempts": 2,
        "next_attempt_at": None,
        "sent_to": None,
        "last_reply": None,
    }
    for event in story:
        assert event["ordering_key"] == message
        assert event["data"]["profile"] == {"id": profile["id"], "name": "main"}
        assert event["data"]["message"] == {
            "id": message,
            "message_id_header": sent["message_id_header"],
            "tags": ["receipt"],
            "metadata": {"order": "42"},
            "source": "api",
            "key_id": sent["key_id"],
            "request_id": sent["request_id"],
            "trace_id": None,
        }
        assert await acme.read(f"/events/{event['id']}") == event


async def test_every_end_is_told_once(start: Start, server: SmtpServer) -> None:
    """Of each recipient one, whichever it is, and one of the message."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port)
    await acme.made("/suppressions", {"address": "sue@example.org"})
    server.script["rcpt"] = [None, "550 5.1.1 No such user", "451 4.3.0 Later"]
    both = await acme.send([ANN, BOB])
    await acme.message(both, status="partially_sent")
    suppressed = await acme.send("sue@example.org")
    await acme.message(suppressed, status="failed")
    later = await acme.send(ANN, send_at=(clock.now() + timedelta(hours=1)).isoformat())
    assert (await acme("POST", f"/messages/{later}/cancel")).status_code == 200
    old = await acme.send(ANN)
    await acme.recipient(old, ANN, status="deferred")
    await acme.settled()
    await clock.advance(days=4)
    await acme.message(old, status="failed")
    assert await types(acme, f"&message={both}") == [
        *("message.queued", "recipient.sent", "recipient.bounced", "message.partially_sent")
    ]
    assert await types(acme, f"&message={suppressed}") == [
        *("message.queued", "recipient.suppressed", "message.failed")
    ]
    assert await types(acme, f"&message={old}") == [
        *("message.queued", "recipient.deferred", "recipient.expired", "message.failed")
    ]
    assert await types(acme, f"&message={later}") == [
        *("message.scheduled", "recipient.cancelled", "message.cancelled")
    ]


async def test_what_is_not_known_and_what_was_found_out(
    heloise: Heloise, server: SmtpServer
) -> None:
    """Uncertain, held, and sent once more because somebody says so."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    server.script["dot"] = [DISCONNECT]
    message = await acme.send(ANN, guarantee="at_most_once")
    await acme.message(message, status="held")
    await acme("POST", f"/messages/{message}/resolve", {"as": "retry"})
    await acme.message(message, status="sent")
    assert await types(acme, f"&message={message}") == [
        *("message.queued", "recipient.uncertain", "message.held"),
        *("recipient.queued", "recipient.sent", "message.sent"),
    ]


async def test_what_happens_to_a_profile(heloise: Heloise, server: SmtpServer) -> None:
    """It fails, is mended, is paused and goes on; each is told once."""
    acme = await heloise.tenant()
    profile = await acme.profile("main", unused_port())
    message = await acme.send(ANN)
    failing = await until_event(acme, "profile.failing")
    assert failing["data"]["code"] == "connect_refused"
    assert failing["data"]["reason"]
    assert failing["ordering_key"] == profile["id"]
    await acme("PATCH", "/profiles/main", {"port": server.port})
    await acme.message(message, status="sent")
    recovered = await until_event(acme, "profile.recovered")
    assert recovered["data"]["reason"] == failing["data"]["reason"]
    for _ in range(2):
        await acme("POST", "/profiles/main/pause")
    await acme("POST", "/profiles/main/resume")
    assert await types(acme, "&type=profile.*") == [
        *("profile.failing", "profile.recovered", "profile.paused", "profile.resumed")
    ]


async def test_filters(heloise: Heloise, server: SmtpServer) -> None:
    """By type, by profile and by time; a wrong one is told."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port, is_default=True)
    await acme.profile("other", server.port)
    for name in ("main", "other"):
        await acme.message(await acme.send(profile=name), status="sent")
    assert await types(acme, "&type=message.sent&type=message.queued&profile=other") == [
        *("message.queued", "message.sent")
    ]
    oldest_first = await all_events(acme)
    assert await all_events(acme, "&order=desc") == oldest_first[::-1]
    assert (await acme("GET", "/events?order=newest")).status_code == 422
    last = oldest_first[-1]
    assert await types(acme, f"&created_after={last['timestamp']}") == []
    refusal = await acme("GET", "/events?type=mesage.*")
    assert refusal.status_code == 422
    assert "message.queued" in refusal.json()["detail"]
    assert (await acme("GET", "/events?cursor=nonsense")).status_code == 422
    for order, other in (("asc", "desc"), ("desc", "asc")):
        page = await acme.read(f"/events?limit=1&order={order}")
        cursor = page["next_cursor"]
        assert (await acme("GET", f"/events?cursor={cursor}&order={order}")).status_code == 200
        assert (await acme("GET", f"/events?cursor={cursor}&order={other}")).status_code == 422


async def test_a_key_that_is_bound_reads_of_its_profiles(
    heloise: Heloise, server: SmtpServer
) -> None:
    """And of no others."""
    acme = await heloise.tenant()
    mine = await acme.profile("main", server.port, is_default=True)
    await acme.profile("other", server.port)
    for name in ("main", "other"):
        await acme.message(await acme.send(profile=name), status="sent")
    body = {"name": "x", "scopes": ["events:read"], "profiles": [mine["id"]]}
    key = await heloise.admin.made(f"/tenants/{acme.tenant_id}/keys", body)
    bound = Tenant(heloise.http, bearer(key["key"]))
    assert {e["data"]["profile"]["name"] for e in await all_events(bound)} == {"main"}
    assert (await bound("GET", "/events?profile=other")).status_code == 404
    of_other = (await all_events(acme, "&profile=other"))[0]
    assert (await bound("GET", f"/events/{of_other['id']}")).status_code == 404


async def test_what_is_erased_is_told_by_no_event(heloise: Heloise, server: SmtpServer) -> None:
    """That it happened stays; to whom, and what the server said of them, does not."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    server.script["rcpt"] = [f"550 5.1.1 <{ANN}>: no such user"]
    await acme.message(await acme.send(ANN), status="failed")
    assert ANN in str(await all_events(acme))
    assert (await acme("DELETE", f"/recipients/{ANN}")).status_code == 200
    after = await all_events(acme)
    assert [e["type"] for e in after] == ["message.queued", "recipient.bounced", "message.failed"]
    assert ANN not in str(after)


async def test_they_are_kept_for_some_days(start: Start, server: SmtpServer) -> None:
    """The service's, or the tenant's own; and a cursor from before still goes on."""
    clock = HandClock()
    heloise = await start(clock=clock, event_retention_days=2)
    acme = await heloise.tenant("acme")
    patient = await heloise.tenant("patient", retention={"event_days": 9})
    for tenant in (acme, patient):
        await tenant.profile("main", server.port)
        await tenant.message(await tenant.send(), status="sent")
    cursor = (await acme.read("/events"))["next_cursor"]
    events = await all_events(patient)
    await clock.advance(days=3)

    async def is_deleted() -> bool | None:
        await clock.advance(minutes=1)
        return not (await acme.read("/events"))["items"] or None

    await until(is_deleted)
    assert (await acme.read(f"/events?cursor={cursor}"))["items"] == []
    assert await all_events(patient) == events


@asynccontextmanager
async def following(tenant: Tenant, *, headers: dict[str, str] | None = None) -> AsyncIterator[Any]:
    """The events of a stream as they come: their ids for the stream, and what they tell."""
    async with tenant.http.stream(
        "GET", "/events/stream", headers=tenant.headers | (headers or {}), timeout=30
    ) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _events(answer)


async def _events(answer: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    fields = dict[str, str]()
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            event = json.loads(fields["data"])
            assert event["type"] == fields["event"]
            yield fields["id"], event
            fields = {}


async def test_they_are_followed_live(start: Start, server: SmtpServer) -> None:
    """From now on, or from where a stream broke off; it ends when the service does."""
    heloise = await start()
    heloise.http.event_hooks = {}  # which would wait for the end of the stream
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    await acme.message(await acme.send(), status="sent")
    async with following(acme) as stream:
        message = await acme.send()
        events = [await anext(stream) for _ in range(3)]
    assert [e["type"] for _, e in events] == ["message.queued", "recipient.sent", "message.sent"]
    assert {e["ordering_key"] for _, e in events} == {message}
    assert events[0][1] == await acme.read(f"/events/{events[0][1]['id']}")
    async with following(acme, headers={"Last-Event-ID": events[0][0]}) as stream:
        assert [await anext(stream) for _ in range(2)] == events[1:]
    refusal = await acme("GET", "/events/stream", headers={"Last-Event-ID": "nonsense"})
    assert refusal.status_code == 422
    assert (await acme("GET", "/events/stream?type=nonsense")).status_code == 422


async def test_a_stream_that_ends_before_its_first_event_goes_on(
    start: Start, server: SmtpServer
) -> None:
    """Its beginning has an id, so nothing that happens until the next stream is missed."""
    heloise = await start()
    heloise.http.event_hooks = {}  # which would wait for the end of the stream
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    async with acme.http.stream("GET", "/events/stream", headers=acme.headers) as answer:
        begun = [line async for line in _until_blank(answer)]
    [position] = [line.removeprefix("id: ") for line in begun if line.startswith("id: ")]
    message = await acme.message(await acme.send(), status="sent")
    async with following(acme, headers={"Last-Event-ID": position}) as stream:
        _, event = await anext(stream)
    assert (event["type"], event["ordering_key"]) == ("message.queued", message["id"])


async def _until_blank(answer: httpx.Response) -> AsyncIterator[str]:
    async for line in answer.aiter_lines():
        if not line:
            return
        yield line


@pytest.mark.slow
async def test_none_is_lost_or_told_twice_over_kill_9(
    launch: Any, watched: Watched, server: SmtpServer
) -> None:
    """Each recipient's end has exactly one event, as its status says (invariant 4)."""
    port = unused_port()
    process = launch("serve", port=port, lease_seconds=1)
    await process.wait_ready()
    heloise = Heloise(process.url, watched)
    async with heloise.http:
        acme = await heloise.tenant()
        await acme.profile("main", server.port, max_connections=2)
        messages = list[str]()
        for number in range(KILLS):
            messages += [await acme.send([ANN, f"u{number}@example.org"]) for _ in range(10)]
            process.kill()
            process = launch("serve", port=port, lease_seconds=1)
            await process.wait_ready()
        await acme.all_sent(messages)
        events = await all_events(acme)
    ends = Counter(
        (e["ordering_key"], e["data"]["recipient"]["address"]) for e in events if e["type"] in ENDS
    )
    assert len(ends) == 2 * len(messages)
    assert set(ends.values()) == {1}
    whole = Counter(
        (e["ordering_key"], e["type"]) for e in events if e["type"].startswith("message")
    )
    assert whole == Counter((m, t) for m in messages for t in ("message.queued", "message.sent"))


def test_every_status_has_its_event() -> None:
    """A status that is new cannot be forgotten."""
    shown_only = {MessageStatus.SENDING}, {RecipientStatus.SENDING}
    event_types = {message_event_type(status) for status in set(MessageStatus) - shown_only[0]}
    event_types |= {recipient_event_type(status) for status in set(RecipientStatus) - shown_only[1]}
    event_types |= set(map(report_event_type, ReportKind))
    assert event_types == {e for e in EventType if e.partition(".")[0] in {"message", "recipient"}}
