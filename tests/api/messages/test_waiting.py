"""`waiting`: why a message is not sent, in one read and in lists."""

from datetime import timedelta
from typing import Any

import pytest

from app.domain.outcome.replies import Reply
from app.domain.types import MessageStatus, RecipientStatus
from app.store.delivery import lane_health, workers
from app.store.outbox import claims as outbox
from app.store.outbox import results as outcomes
from tests.support.api_client import MESSAGE, PROFILE, Api, Caller
from tests.support.database.statements import record_statements
from tests.support.uncertain_message import held_message

MINUTE = timedelta(minutes=1)
WORKER = "wrk_test"
TWO: dict[str, Any] = MESSAGE | {"to": ["ann@example.org", "bob@example.org"]}


@pytest.fixture
async def sender(api: Api, acme: Caller) -> Caller:
    """A tenant with one profile, and a worker that is alive."""
    await acme.made("/profiles", PROFILE)
    now = api.services.now()
    async with api.services.database.transaction() as connection:
        await workers.record_heartbeat(
            connection, worker_id=WORKER, hostname="host-1", pid=1, started_at=now, now=now
        )
    return acme


async def claim(api: Api, message: Any, lease: timedelta) -> outbox.ClaimedMessage:
    """Lease the message for the worker."""
    now = api.services.now()
    async with api.services.database.transaction() as connection:
        [claimed] = await outbox.claim(
            connection,
            [outbox.ClaimRequest(message["profile_id"], 1, 1_000_000)],
            owner=WORKER,
            now=now,
            lease_until=now + lease,
        )
    return claimed


async def defer_first(api: Api, message: Any) -> None:
    """Let the server refuse the first of two recipients for now; the second one stays due."""
    claimed = await claim(api, message, MINUTE)
    now = api.services.now()
    first = outcomes.RecipientUpdate(
        position=0,
        status=RecipientStatus.DEFERRED,
        attempts=1,
        next_attempt_at=now + MINUTE,
        reply=Reply(450, "Try later", "4.2.0"),
        classification="recipient_deferred",
    )
    ended = outcomes.Settlement(
        message_id=claimed.id, recipients=(first,), status=None, due_at=now, attempts=()
    )
    async with api.services.database.transaction() as connection:
        await outcomes.settle(connection, owner=WORKER, settlements=[ended], now=now)


async def reason_of(sender: Caller, message: Any) -> str:
    """Why the message waits."""
    reason: str = (await sender.read(f"/messages/{message['id']}"))["waiting"]["reason"]
    return reason


async def test_a_message_of_a_failing_profile_says_why_it_waits(api: Api, sender: Caller) -> None:
    """So does each recipient, in the list as alone; the answer to the request does not."""
    message = await sender.made("/messages", MESSAGE)
    assert message["waiting"] is None
    assert await reason_of(sender, message) == "in_turn"
    async with api.services.database.transaction() as connection:
        await lane_health.record_fault(
            connection,
            profile_id=message["profile_id"],
            revision=1,
            code="ehlo_rejected",
            reason="504 5.5.2 need fully-qualified hostname",
            now=api.services.now(),
            wait=lambda _: MINUTE,
            is_probe=False,
        )
    read = await sender.read(f"/messages/{message['id']}")
    waiting = read["waiting"]
    assert waiting | {"until": None} == {
        "reason": "profile_failing",
        "code": "ehlo_rejected",
        "detail": "504 5.5.2 need fully-qualified hostname",
        "until": None,
    }
    assert waiting["until"] == (await sender.read("/profiles/transactional"))["next_probe_at"]
    assert read["recipients"][0]["waiting"] == waiting
    assert (await sender.read("/messages"))["items"] == [read]
    assert (await sender.read("/messages?subject=receipt"))["items"] == [read]
    exported = await sender("GET", "/messages/export")
    assert '"reason":"profile_failing"' in exported.text


async def test_a_message_waits_for_the_recipient_that_is_due_first(
    api: Api, sender: Caller
) -> None:
    """A recipient that was deferred waits longer, and shows the server's reply."""
    message = await sender.made("/messages", TWO)
    await defer_first(api, message)
    read = await sender.read(f"/messages/{message['id']}")
    deferred, due = (recipient["waiting"] for recipient in read["recipients"])
    assert deferred | {"until": None} == {
        "reason": "backoff",
        "code": "recipient_deferred",
        "detail": "450 4.2.0 Try later",
        "until": None,
    }
    assert deferred["until"] == read["recipients"][0]["next_attempt_at"]
    assert due["reason"] == read["waiting"]["reason"] == "in_turn"


async def test_a_message_in_hand_does_not_wait(api: Api, sender: Caller) -> None:
    """Its recipient that is not due does."""
    message = await sender.made("/messages", TWO)
    await defer_first(api, message)
    await claim(api, message, MINUTE)
    read = await sender.read(f"/messages/{message['id']}")
    assert (read["status"], read["waiting"]) == ("sending", None)
    deferred, due = (recipient["waiting"] for recipient in read["recipients"])
    assert (deferred["reason"], due) == ("backoff", None)


async def test_a_message_of_a_dead_worker_waits_for_another(api: Api, sender: Caller) -> None:
    """Its lease has ended, and no worker is alive."""
    message = await sender.made("/messages", MESSAGE)
    await claim(api, message, timedelta(0))
    async with api.services.database.transaction() as connection:
        await workers.deregister(connection, worker_id=WORKER)
    read = await sender.read(f"/messages/{message['id']}")
    assert read["status"] == "sending"
    assert read["waiting"]["reason"] == "no_worker"
    assert read["recipients"][0]["waiting"] == read["waiting"]


async def test_what_does_not_wait_says_nothing(api: Api, sender: Caller) -> None:
    """A final message, and one that a caller has to resolve."""
    created_message = await sender.made("/messages", MESSAGE)
    cancelled = (await sender("POST", f"/messages/{created_message['id']}/cancel")).json()
    held = await sender.read(f"/messages/{await held_message(api, sender)}")
    assert (cancelled["status"], held["status"]) == ("cancelled", MessageStatus.HELD)
    for message in (cancelled, held):
        assert message["waiting"] is None
        assert message["recipients"][0]["waiting"] is None


async def test_a_scheduled_message_waits_for_its_time(api: Api, sender: Caller) -> None:
    """Which the answer to a change shows too."""
    send_at = (api.services.now() + MINUTE).isoformat()
    message = await sender.made("/messages", MESSAGE | {"send_at": send_at})
    assert await reason_of(sender, message) == "scheduled"
    changed = (await sender("PATCH", f"/messages/{message['id']}", {"priority": "low"})).json()
    assert changed["waiting"]["reason"] == "scheduled"
    assert changed["waiting"]["until"] == changed["send_at"]


async def test_a_page_costs_as_many_statements_as_one_message(sender: Caller) -> None:
    """However many messages and profiles it has."""

    async def count() -> int:
        with record_statements() as executed:
            await sender.read("/messages?limit=200")
        # Whether the key is looked up anew, or a connection tried, does not depend on the page.
        return sum("FROM " in sql and "api_keys" not in sql for sql, _ in executed)

    await sender.made("/messages", MESSAGE)
    of_one = await count()
    for number in range(5):
        await sender.made("/profiles", PROFILE | {"name": f"p{number}"})
        await sender.made("/messages", TWO | {"profile": f"p{number}"})
    assert await count() == of_one
