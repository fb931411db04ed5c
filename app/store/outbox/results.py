"""Write outcomes of messages: settle, mark, expire, finish (invariants 3, 4, 5)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.clock import format_rfc3339
from app.domain.delivery.status import FINAL, RecipientEvent, message_status, next_status
from app.domain.events import NewEvent, message_event_type, recipient_event_type
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.ids import first_id
from app.domain.outcome.replies import Reply
from app.domain.types import MessageStatus, RecipientStatus
from app.store import events, suppressions
from app.store.db.array_params import any_of
from app.store.db.bulk import Bulk, Write
from app.store.db.clock import bind_now
from app.store.db.delete_old import delete_oldest
from app.store.db.transaction_observer import note_finished
from app.store.outbox import wiping
from app.store.outbox.claims import load_recipients
from app.store.outbox.wiping import LockedMessage
from app.store.tables.core import (
    EXPIRING,
    IS_TO_SEND,
    attempt_transcripts,
    attempts,
    has_address,
    messages,
    profiles,
    recipients,
)


@frozen_dataclass(kw_only=True)
class RecipientUpdate:
    """The result of one recipient in an attempt.

    `sent_to` is the address after a redirect. `is_hard_bounce`: its server says that the recipient
    does not exist.
    """

    position: int
    status: RecipientStatus
    attempts: int
    next_attempt_at: datetime | None
    reply: Reply | None
    classification: str | None
    sent_to: str | None = None
    is_hard_bounce: bool = False
    unknown_outcomes: int = 0


@frozen_dataclass(kw_only=True)
class Settlement:
    """The end of a claim: results of recipients, and a final status or due time."""

    message_id: str
    recipients: tuple[RecipientUpdate, ...]
    status: MessageStatus | None
    due_at: datetime | None
    attempts: tuple[Mapping[str, Any], ...]


async def settle(
    connection: AsyncConnection, *, owner: str, settlements: Sequence[Settlement], now: datetime
) -> set[str]:
    """Write outcomes of messages that the owner still leases; return their ids.

    Ignores results of a former owner for a message that another has taken over (invariant 3).
    """
    ids = [settlement.message_id for settlement in settlements]
    owned = await _lock_owned(connection, owner, ids)
    owned_settlements = [settlement for settlement in settlements if settlement.message_id in owned]
    attempt_rows = [attempt for settlement in owned_settlements for attempt in settlement.attempts]
    await _SETTLE.execute(
        connection,
        [row for settlement in owned_settlements for row in _recipient_updates(settlement, now)],
        [
            _message_row(settlement.message_id, settlement.status, settlement.due_at, now)
            for settlement in owned_settlements
        ],
        attempt_rows,
        _collect_transcripts(attempt_rows),
        events.build_rows(
            event
            for settlement in owned_settlements
            for event in _build_events(settlement, owned[settlement.message_id], now)
        ),
    )
    for settlement in owned_settlements:
        message = owned[settlement.message_id]
        for recipient in settlement.recipients:
            if recipient.status in FINAL:
                note_finished(connection, recipient.status, message.tenant_id, message.profile_id)
    bounced = [
        (settlement.message_id, recipient.position)
        for settlement in owned_settlements
        for recipient in settlement.recipients
        if recipient.is_hard_bounce
    ]
    await suppressions.add_bounced(connection, bounced, now)
    finished = [
        owned[settlement.message_id]
        for settlement in owned_settlements
        if _finished_at(settlement.status, now) is not None
    ]
    await wiping.apply_end_actions(connection, finished, now)
    return set(owned)


def _build_events(
    settlement: Settlement, message: LockedMessage, now: datetime
) -> Iterable[NewEvent]:
    """Yield the events of each recipient, then of the message."""
    context = (now, message.tenant_id, message.profile_id, message.id)
    for recipient in settlement.recipients:
        reply, next_attempt_at = recipient.reply, recipient.next_attempt_at
        data = {
            "attempts": recipient.attempts,
            "next_attempt_at": next_attempt_at and format_rfc3339(next_attempt_at),
            "code": reply and reply.code,
            "enhanced_code": reply and reply.enhanced_code,
            "text": reply and reply.text,
            "classification": recipient.classification,
            "sent_to": recipient.sent_to,
        }
        event_data = {key: value for key, value in data.items() if value is not None}
        yield NewEvent(
            recipient_event_type(recipient.status), *context, recipient.position, event_data
        )
    if settlement.status is not None:
        yield NewEvent(message_event_type(settlement.status), *context)


async def mark(
    connection: AsyncConnection,
    *,
    owner: str,
    message_id: str,
    positions: Sequence[int],
    now: datetime,
) -> bool:
    """Make recipients `uncertain` before the body is sent to them (invariant 5).

    Returns False and changes nothing if the owner has lost the lease.
    """
    if not await _lock_owned(connection, owner, [message_id]):
        return False
    await connection.execute(
        update(recipients)
        .where(
            recipients.c.message_id == message_id,
            recipients.c.position.in_(positions),
            IS_TO_SEND,
        )
        .values(
            status=next_status(RecipientStatus.QUEUED, RecipientEvent.MARK).value,
            next_attempt_at=None,
            updated_at=now,
        )
    )
    return True


async def _lock_owned(
    connection: AsyncConnection, owner: str, ids: Sequence[str]
) -> dict[str, LockedMessage]:
    """Lock those of the messages that the owner still leases."""
    rows = await connection.execute(_LOCK_OWNED, {"ids": ids, "owner": owner})
    return {row.id: row for row in rows}


_LOCKED_COLUMNS: Final = (
    messages.c.id,
    messages.c.tenant_id,
    messages.c.profile_id,
    messages.c.status,
    messages.c.wipes_content,
    messages.c.erases_recipients,
)


_LOCK_OWNED: Final = (
    select(*_LOCKED_COLUMNS)
    .where(any_of(messages.c.id, "ids"), messages.c.lease_owner == bindparam("owner"))
    .order_by(messages.c.id)
    .with_for_update()
)


_UPDATE_MESSAGE: Final = Write.update(
    messages,
    keys=["id"],
    values=["status", "due_at", "updated_at", "finished_at"],
    lease_owner=null(),
)
_UPDATE_RECIPIENT: Final = Write.update(
    recipients,
    keys=["message_id", "position"],
    values=[
        "status",
        "attempts",
        "next_attempt_at",
        "reply_code",
        "reply_enhanced_code",
        "reply_text",
        "classification",
        "sent_to",
        "unknown_outcomes",
        "updated_at",
        "finished_at",
    ],
)


def _message_row(
    message_id: str, status: MessageStatus | None, due_at: datetime | None, now: datetime
) -> dict[str, Any]:
    return {
        "id": message_id,
        "status": (status or MessageStatus.QUEUED).value,
        "due_at": due_at,
        "updated_at": now,
        "finished_at": _finished_at(status, now),
    }


def _finished_at(status: MessageStatus | None, now: datetime) -> datetime | None:
    return None if status in {None, MessageStatus.HELD} else now


def _recipient_updates(settlement: Settlement, now: datetime) -> Iterable[dict[str, Any]]:
    for recipient in settlement.recipients:
        reply = recipient.reply
        yield {
            "message_id": settlement.message_id,
            "position": recipient.position,
            "status": recipient.status.value,
            "attempts": recipient.attempts,
            "next_attempt_at": recipient.next_attempt_at,
            "reply_code": reply and reply.code,
            "reply_enhanced_code": reply and reply.enhanced_code,
            "reply_text": reply and reply.text,
            "classification": recipient.classification,
            "sent_to": recipient.sent_to,
            "unknown_outcomes": recipient.unknown_outcomes or None,
            "updated_at": now,
            "finished_at": now if recipient.status in FINAL else None,
        }


async def insert_attempts(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert attempts, each with its transcript if that is kept."""
    await _INSERT_ATTEMPTS.execute(connection, rows, _collect_transcripts(rows))


def _collect_transcripts(attempt_rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [
        {"attempt_id": row["id"], "transcript": transcript}
        for row in attempt_rows
        if (transcript := row.get("transcript")) is not None
    ]


_WRITE_ATTEMPTS: Final = (Write.insert(attempts), Write.insert(attempt_transcripts))
_INSERT_ATTEMPTS: Final = Bulk(*_WRITE_ATTEMPTS)
_SETTLE: Final = Bulk(_UPDATE_RECIPIENT, _UPDATE_MESSAGE, *_WRITE_ATTEMPTS, events.APPEND)
_CLOSE: Final = Bulk(_UPDATE_MESSAGE, events.APPEND)


async def delete_old_transcripts(
    connection: AsyncConnection, *, before: datetime, limit: int
) -> int:
    """Delete up to `limit` old transcripts, oldest first; return how many.

    Attempt ids sort by time, so their index is enough.
    """
    key = attempt_transcripts.c.attempt_id
    return await delete_oldest(
        connection, attempt_transcripts, key < first_id("att", before), order=key, limit=limit
    )


def _is_free(now: ColumnElement[datetime]) -> ColumnElement[bool]:
    """Build the condition that no lease of the message is in force."""
    return or_(messages.c.lease_owner.is_(None), messages.c.due_at <= now)


@cache
def _select_expired(*, is_clock_checked: bool) -> Select[str]:
    now = bind_now(is_clock_checked=is_clock_checked)
    return select(messages.c.id).where(messages.c.expires_at <= now, EXPIRING, _is_free(now))


@cache
def _select_orphaned(*, is_clock_checked: bool) -> Select[str]:
    return (
        select(messages.c.id)
        .join(profiles, profiles.c.id == messages.c.profile_id)
        .where(
            profiles.c.deleted_at.is_not(None),
            messages.c.due_at.is_not(None),
            _is_free(bind_now(is_clock_checked=is_clock_checked)),
        )
    )


_HAS_EXPIRED_OR_ORPHANED: Final = select(
    or_(
        _select_expired(is_clock_checked=False).exists(),
        _select_orphaned(is_clock_checked=False).exists(),
    )
)


async def has_expired_or_orphaned(connection: AsyncConnection, *, now: datetime) -> bool:
    """Whether `expire` or `cancel_orphans` has something to do."""
    return bool((await connection.execute(_HAS_EXPIRED_OR_ORPHANED, {"now": now})).scalar_one())


async def expire(
    connection: AsyncConnection, *, now: datetime, limit: int, is_clock_checked: bool = False
) -> int:
    """Finish unleased messages that have expired; return how many.

    With `is_clock_checked`, they have expired by the database's own time too.
    """
    query = _select_expired(is_clock_checked=is_clock_checked)
    return await _finish(connection, query, RecipientEvent.EXPIRE, now, limit)


async def cancel_orphans(
    connection: AsyncConnection, *, now: datetime, limit: int, is_clock_checked: bool = False
) -> int:
    """Cancel unleased messages of deleted profiles; return how many.

    With `is_clock_checked`, leases have ended by the database's own time too.
    """
    query = _select_orphaned(is_clock_checked=is_clock_checked)
    return await _finish(connection, query, RecipientEvent.CANCEL, now, limit)


async def _finish(
    connection: AsyncConnection,
    query: Select[str],
    event: RecipientEvent,
    now: datetime,
    limit: int,
) -> int:
    locking_query = query.limit(limit).with_for_update(of=messages, skip_locked=True)
    ids = list((await connection.execute(locking_query, {"now": now})).scalars())
    await finish_open(connection, message_ids=ids, event=event, now=now)
    return len(ids)


async def finish_open(
    connection: AsyncConnection,
    *,
    message_ids: Sequence[str],
    event: RecipientEvent,
    now: datetime,
    address: str | None = None,
) -> None:
    """Apply an event to the open recipients, or the one with this address, of locked messages.

    Keeps the server's last reply, and uncertain recipients: neither time nor cancellation tells
    what the server accepted.
    """
    if not message_ids:
        return
    status = next_status(RecipientStatus.QUEUED, event)
    statement = (
        update(recipients)
        .where(recipients.c.message_id.in_(message_ids), IS_TO_SEND)
        .values(
            status=status.value,
            next_attempt_at=None,
            updated_at=now,
            finished_at=now if status in FINAL else None,
        )
        .returning(recipients.c.message_id, recipients.c.position)
    )
    if address is not None:
        statement = statement.where(has_address(address))
    places = [(row.message_id, row.position) for row in await connection.execute(statement)]
    await events.append_recipient_events(connection, places, status, now)
    await close(connection, message_ids=message_ids, now=now)


async def close(connection: AsyncConnection, *, message_ids: Sequence[str], now: datetime) -> None:
    """Finish messages without open recipients, with the status that these determine.

    The caller has locked the rows. A message with an open recipient stays as it is.
    """
    if not message_ids:
        return
    recipients_by_message = await load_recipients(connection, message_ids)
    statuses = {
        message_id: status
        for message_id, group in recipients_by_message.items()
        if (status := message_status(recipient.status for recipient in group)) is not None
    }
    if not statuses:
        return
    query = select(*_LOCKED_COLUMNS).where(messages.c.id.in_(statuses))
    rows = (await connection.execute(query)).all()
    new_events = (
        NewEvent(message_event_type(statuses[row.id]), now, row.tenant_id, row.profile_id, row.id)
        for row in rows
        if statuses[row.id] != row.status
    )
    await _CLOSE.execute(
        connection,
        [_message_row(message_id, status, None, now) for message_id, status in statuses.items()],
        events.build_rows(new_events),
    )
    finished = [row for row in rows if _finished_at(statuses[row.id], now) is not None]
    await wiping.apply_end_actions(connection, finished, now)
