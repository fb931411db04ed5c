"""Outcomes: written once, by the owner alone (invariants 3 and 4)."""

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select

from app.domain.delivery.status import RecipientEvent
from app.domain.outcome.replies import Reply
from app.domain.types import MessageStatus, NewMessage, Profile, RecipientStatus
from app.store.db.database import Database
from app.store.messages import queries as messages
from app.store.messages import status_changes as decisions
from app.store.outbox import leases as outbox
from app.store.outbox import results as outcomes
from app.store.outbox.results import RecipientUpdate, Settlement
from app.store.profiles import deletion
from app.store.tables.core import attempt_transcripts, attempts
from tests.support.rows import (
    HOUR,
    MINUTE,
    NOW,
    an_attempt,
    leased_messages,
    made_profile,
    made_tenant,
    queued_message,
)

OK = Reply(250, "Ok: queued as 4XyZ", "2.0.0")


@pytest.fixture
async def profile(database: Database) -> Profile:
    """A tenant's profile."""
    return await made_profile(database, await made_tenant(database))


def update(position: int, status: RecipientStatus, **fields: Any) -> RecipientUpdate:
    """What became of a recipient."""
    defaults = {"attempts": 1, "next_attempt_at": None, "reply": OK, "classification": "delivered"}
    return RecipientUpdate(position=position, status=status, **(defaults | fields))


def deliver(message: NewMessage) -> Settlement:
    """A message that its one recipient has got."""
    return Settlement(
        message_id=message.id,
        recipients=(update(0, RecipientStatus.SENT),),
        status=MessageStatus.SENT,
        due_at=None,
        attempts=(an_attempt(message, 0),),
    )


async def settle(
    database: Database, owner: str, *settlements: Settlement, now: datetime = NOW
) -> set[str]:
    """Settle in a transaction of its own."""
    async with database.transaction() as connection:
        return await outcomes.settle(connection, owner=owner, settlements=settlements, now=now)


async def view_of(database: Database, message: NewMessage) -> messages.MessageView:
    """The message as it reads."""
    async with database.reading() as connection:
        return await messages.get(connection, tenant_id=message.tenant_id, message_id=message.id)


async def attempts_of(database: Database, message: NewMessage) -> int:
    """How many attempts were noted."""
    async with database.reading() as connection:
        items = await messages.list_attempts(
            connection, tenant_id=message.tenant_id, message_id=message.id, limit=99, after=None
        )
    return len(items)


async def test_a_settled_message_is_done(database: Database, profile: Profile) -> None:
    """Its final status and time, the server's words, one attempt; and it is never due again."""
    message = await queued_message(database, profile)
    await leased_messages(database, profile, owner="wrk_1")
    assert await settle(database, "wrk_1", deliver(message), now=NOW + MINUTE) == {message.id}
    view = await view_of(database, message)
    [recipient] = view.recipients
    assert (view.status, view.finished_at) == (MessageStatus.SENT, NOW + MINUTE)
    assert (recipient.status, recipient.attempts) == (RecipientStatus.SENT, 1)
    assert (recipient.reply_code, recipient.reply_enhanced_code, recipient.reply_text) == (
        250,
        "2.0.0",
        "Ok: queued as 4XyZ",
    )
    assert await attempts_of(database, message) == 1
    assert await leased_messages(database, profile, owner="wrk_1", now=NOW + HOUR) == []


async def test_a_deferred_message_is_due_again(database: Database, profile: Profile) -> None:
    """At its time, for whoever comes; who was sent to stays sent to."""
    message = await queued_message(database, profile, "ann@x.test", "bob@x.test")
    await leased_messages(database, profile, owner="wrk_1")
    deferred = {"next_attempt_at": NOW + MINUTE, "reply": Reply(450, "later")}
    ended = Settlement(
        message_id=message.id,
        recipients=(
            update(0, RecipientStatus.SENT),
            update(1, RecipientStatus.DEFERRED, **deferred),
        ),
        status=None,
        due_at=NOW + MINUTE,
        attempts=(),
    )
    await settle(database, "wrk_1", ended)
    assert await leased_messages(database, profile, owner="wrk_2") == []
    [reclaimed] = await leased_messages(database, profile, owner="wrk_2", now=NOW + MINUTE)
    assert [(recipient.status.value, recipient.attempts) for recipient in reclaimed.recipients] == [
        ("sent", 1),
        ("deferred", 1),
    ]


async def test_an_owner_without_the_lease_may_not_settle(
    database: Database, profile: Profile
) -> None:
    """Nothing is written of it, not even the attempt; its neighbours are (invariant 3)."""
    lost = await queued_message(database, profile)
    await leased_messages(database, profile, owner="wrk_1")
    await leased_messages(database, profile, owner="wrk_2", now=NOW + MINUTE)
    leased = await queued_message(database, profile)
    await leased_messages(database, profile, owner="wrk_1")
    settled = await settle(database, "wrk_1", deliver(lost), deliver(leased))
    assert settled == {leased.id}
    view = await view_of(database, lost)
    assert view.status is MessageStatus.SENDING
    assert view.recipients[0].attempts == 0
    assert await attempts_of(database, lost) == 0


async def test_settling_twice_is_settling_once(database: Database, profile: Profile) -> None:
    """The second time the lease is nobody's (invariant 4)."""
    message = await queued_message(database, profile)
    await leased_messages(database, profile, owner="wrk_1")
    await settle(database, "wrk_1", deliver(message))
    first = await view_of(database, message)
    assert await settle(database, "wrk_1", deliver(message), now=NOW + HOUR) == set()
    assert await view_of(database, message) == first
    assert await attempts_of(database, message) == 1


async def test_what_is_past_its_time_expires(database: Database, profile: Profile) -> None:
    """Not what is being sent, not before its time; who was sent to stays sent to."""
    waiting = await queued_message(database, profile)
    await leased_messages(database, profile, owner="wrk_1", now=NOW)
    async with database.transaction() as connection:
        assert await outcomes.expire(connection, now=NOW + HOUR - MINUTE, limit=9) == 0
    later = await queued_message(database, profile, expires_at=NOW + HOUR * 9)
    free = await queued_message(database, profile)
    held_until = NOW + HOUR * 2
    async with database.transaction() as connection:
        await outbox.renew(
            connection, owner="wrk_1", message_ids=[waiting.id], lease_until=held_until
        )
        assert await outcomes.expire(connection, now=NOW + HOUR, limit=9) == 1
    assert [
        (await view_of(database, message)).status.value for message in (waiting, later, free)
    ] == [
        "sending",
        "queued",
        "failed",
    ]
    async with database.transaction() as connection:
        assert await outcomes.expire(connection, now=held_until, limit=9) == 1
    view = await view_of(database, waiting)
    assert (view.recipients[0].status, view.finished_at) == (RecipientStatus.EXPIRED, held_until)


async def test_what_a_deleted_profile_left_is_cancelled(
    database: Database, profile: Profile
) -> None:
    """What was being sent at its deletion and came back; what another profile has stays."""
    other = await made_profile(database, await made_tenant(database, "other"))
    left, stays = await queued_message(database, profile), await queued_message(database, other)
    await leased_messages(database, profile, owner="wrk_1")
    async with database.transaction() as connection:
        await deletion.delete(
            connection,
            tenant_id=profile.tenant_id,
            profile_id=profile.id,
            now=NOW,
            cancel_pending=True,
        )
        assert await outcomes.cancel_orphans(connection, now=NOW, limit=9) == 0
        assert await outcomes.cancel_orphans(connection, now=NOW + MINUTE, limit=9) == 1
    assert (await view_of(database, left)).status is MessageStatus.CANCELLED
    assert (await view_of(database, stays)).status is MessageStatus.QUEUED


async def test_a_mark_is_made_by_the_owner_alone(database: Database, profile: Profile) -> None:
    """Before the body goes out; what is marked is never claimed as if it had not been sent."""
    message = await queued_message(database, profile)
    await leased_messages(database, profile, owner="wrk_1")
    arguments = {"message_id": message.id, "positions": [0], "now": NOW}
    async with database.transaction() as connection:
        assert not await outcomes.mark(connection, owner="wrk_2", **arguments)
        assert await outcomes.mark(connection, owner="wrk_1", **arguments)
    [claimed] = await leased_messages(database, profile, owner="wrk_2", now=NOW + MINUTE)
    assert [recipient.status for recipient in claimed.recipients] == [RecipientStatus.UNCERTAIN]
    assert not any(recipient.is_open for recipient in claimed.recipients)


async def test_resolving_nothing_changes_nothing(database: Database, profile: Profile) -> None:
    """A message without an uncertain recipient stays finished, or waits until it is due."""
    done, waiting = [await queued_message(database, profile) for _ in range(2)]
    await leased_messages(database, profile, owner="wrk_1")
    deferred = update(0, RecipientStatus.DEFERRED, next_attempt_at=NOW + HOUR)
    later = Settlement(
        message_id=waiting.id, recipients=(deferred,), status=None, due_at=NOW + HOUR, attempts=()
    )
    await settle(database, "wrk_1", deliver(done), later)
    before = [await view_of(database, message) for message in (done, waiting)]
    for message in (done, waiting):
        async with database.transaction() as connection:
            await decisions.resolve(
                connection,
                tenant_id=profile.tenant_id,
                message_id=message.id,
                addresses=None,
                event=RecipientEvent.REQUEUE,
                now=NOW,
            )
    assert [await view_of(database, message) for message in (done, waiting)] == before
    assert await leased_messages(database, profile, owner="wrk_1", now=NOW + MINUTE) == []


async def test_an_attempt_is_noted_with_what_was_said(database: Database, profile: Profile) -> None:
    """Such as one of a worker that stopped; its transcript is kept beside it."""
    message = await queued_message(database, profile)
    attempt = an_attempt(message, 1) | {"transcript": '[{"from":"server","text":"220 ready"}]'}
    async with database.transaction() as connection:
        await outcomes.insert_attempts(connection, [attempt])
        rows = (await connection.execute(select(attempts.c.id))).scalars().all()
        transcripts = (
            (await connection.execute(select(attempt_transcripts.c.transcript))).scalars().all()
        )
    assert (rows, transcripts) == ([attempt["id"]], [attempt["transcript"]])
