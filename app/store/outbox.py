"""The outbox: accept, claim, renew, settle, release, expire."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.replies import Reply
from app.domain.status import FINAL, RecipientEvent, message_status, next_status
from app.domain.types import MessageStatus, NewMessage, RecipientStatus
from app.store.tables import (
    attempts,
    message_contents,
    message_tags,
    messages,
    profiles,
    recipients,
)

QUEUED: Final = MessageStatus.QUEUED.value
SENDING: Final = MessageStatus.SENDING.value


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRecipient:
    """A recipient of a claimed message as it stood at the claim."""

    position: int
    address: str
    status: RecipientStatus
    attempts: int
    next_attempt_at: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether it has no final status yet."""
        return self.status not in FINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedMessage:
    """A message that its claimer alone may work on, until the lease ends (invariant 3)."""

    id: str
    tenant_id: str
    profile_id: str
    envelope_from: str
    expires_at: datetime
    recipients: tuple[ClaimedRecipient, ...]
    mime: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientUpdate:
    """What became of one recipient in an attempt."""

    position: int
    status: RecipientStatus
    attempts: int
    next_attempt_at: datetime | None
    reply: Reply | None
    classification: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The end of one claim: each touched recipient, then either a final status or a due time."""

    message_id: str
    recipients: tuple[RecipientUpdate, ...]
    status: MessageStatus | None
    due_at: datetime | None
    attempts: tuple[Mapping[str, Any], ...]


async def accept(connection: AsyncConnection, accepted: Sequence[NewMessage]) -> None:
    """Write new messages, due at once."""
    await connection.execute(insert(messages), [_message_row(each) for each in accepted])
    await connection.execute(insert(message_contents), [_content_row(each) for each in accepted])
    await connection.execute(
        insert(recipients), [row for each in accepted for row in _recipient_rows(each)]
    )
    if tags := [row for each in accepted for row in _tag_rows(each)]:
        await connection.execute(insert(message_tags), tags)


def _message_row(message: NewMessage) -> dict[str, Any]:
    return {
        "id": message.id,
        "tenant_id": message.tenant_id,
        "profile_id": message.profile_id,
        "status": QUEUED,
        "due_at": message.created_at,
        "envelope_from": message.envelope_from,
        "created_at": message.created_at,
        "updated_at": message.created_at,
        "expires_at": message.expires_at,
    }


def _content_row(message: NewMessage) -> dict[str, Any]:
    return {
        "message_id": message.id,
        "sender_address": message.sender.address,
        "sender_name": message.sender.name,
        "subject": message.subject,
        "message_id_header": message.message_id_header,
        "metadata": dict(message.metadata),
        "size_bytes": len(message.mime),
        "mime": message.mime,
    }


def _recipient_rows(message: NewMessage) -> Iterable[dict[str, Any]]:
    for position, recipient in enumerate(message.recipients):
        yield {
            "message_id": message.id,
            "position": position,
            "tenant_id": message.tenant_id,
            "kind": recipient.kind.value,
            "address": recipient.mailbox.address,
            "name": recipient.mailbox.name,
            "status": RecipientStatus.QUEUED.value,
            "attempts": 0,
            "updated_at": message.created_at,
        }


def _tag_rows(message: NewMessage) -> Iterable[dict[str, Any]]:
    for tag in dict.fromkeys(message.tags):
        yield {"tenant_id": message.tenant_id, "tag": tag, "message_id": message.id}


async def claim(
    connection: AsyncConnection,
    *,
    profile_id: str,
    owner: str,
    limit: int,
    now: datetime,
    lease_until: datetime,
    max_bytes: int,
) -> list[ClaimedMessage]:
    """Lease up to `limit` due messages of one profile, oldest first.

    One is taken whatever its size; more only until those before it have `max_bytes` together. A
    message whose former lease has ended is due again, and so taken over here.
    """
    due = (
        select(messages.c.id, messages.c.due_at)
        .where(messages.c.profile_id == profile_id, messages.c.due_at <= now)
        .order_by(messages.c.due_at, messages.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    so_far = func.sum(message_contents.c.size_bytes).over(order_by=(due.c.due_at, due.c.id))
    sized = select(due.c.id, (so_far - message_contents.c.size_bytes).label("before")).join(
        message_contents, message_contents.c.message_id == due.c.id
    )
    taken = sized.cte("sized")
    claimed = (
        update(messages)
        .where(messages.c.id.in_(select(taken.c.id).where(taken.c.before < max_bytes)))
        .values(status=SENDING, lease_owner=owner, due_at=lease_until, updated_at=now)
        .returning(
            messages.c.id,
            messages.c.tenant_id,
            messages.c.profile_id,
            messages.c.envelope_from,
            messages.c.expires_at,
        )
    )
    rows = sorted((await connection.execute(claimed)).all())
    ids = [row.id for row in rows]
    if not ids:
        return []
    mimes = await _mimes(connection, ids)
    addressed = await _recipients(connection, ids)
    return [
        ClaimedMessage(**row._mapping, recipients=addressed[row.id], mime=mimes[row.id])  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
        for row in rows
    ]


async def _mimes(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, bytes]:
    query = select(message_contents.c.message_id, message_contents.c.mime).where(
        message_contents.c.message_id.in_(ids)
    )
    return {row.message_id: row.mime for row in await connection.execute(query)}


async def _recipients(
    connection: AsyncConnection, ids: Sequence[str]
) -> dict[str, tuple[ClaimedRecipient, ...]]:
    query = (
        select(
            recipients.c.message_id,
            recipients.c.position,
            recipients.c.address,
            recipients.c.status,
            recipients.c.attempts,
            recipients.c.next_attempt_at,
        )
        .where(recipients.c.message_id.in_(ids))
        .order_by(recipients.c.message_id, recipients.c.position)
    )
    rows = await connection.execute(query)
    return {
        message_id: tuple(
            ClaimedRecipient(
                position=row.position,
                address=row.address,
                status=RecipientStatus(row.status),
                attempts=row.attempts,
                next_attempt_at=row.next_attempt_at,
            )
            for row in group
        )
        for message_id, group in groupby(rows, key=lambda row: row.message_id)
    }


async def renew(
    connection: AsyncConnection, *, owner: str, held: Sequence[str], lease_until: datetime
) -> set[str]:
    """Lengthen the leases of the messages held; answers which are still the owner's."""
    renewed = (
        update(messages)
        .where(messages.c.id.in_(held), messages.c.lease_owner == owner)
        .values(due_at=lease_until)
        .returning(messages.c.id)
    )
    return set((await connection.execute(renewed)).scalars())


async def release(
    connection: AsyncConnection, *, owner: str, held: Sequence[str], now: datetime
) -> None:
    """Give messages back untouched, due at once."""
    await connection.execute(
        update(messages)
        .where(messages.c.id.in_(held), messages.c.lease_owner == owner)
        .values(status=QUEUED, lease_owner=None, due_at=now, updated_at=now)
    )


async def release_all(connection: AsyncConnection, *, now: datetime) -> int:
    """Give back what dead workers held; answers how many messages that was.

    Only for the sole delivering process of a database, before it claims anything.
    """
    released = await connection.execute(
        update(messages)
        .where(messages.c.lease_owner.is_not(None))
        .values(status=QUEUED, lease_owner=None, due_at=now, updated_at=now)
    )
    return released.rowcount


async def settle(
    connection: AsyncConnection, *, owner: str, settlements: Sequence[Settlement], now: datetime
) -> set[str]:
    """Write outcomes for the messages whose lease is still the owner's; answers which these were.

    What a former owner reports about a message that was taken over changes nothing (invariant 3).
    """
    ids = [each.message_id for each in settlements]
    owned = await _lock_owned(connection, owner, ids)
    mine = [each for each in settlements if each.message_id in owned]
    if rows := [row for each in mine for row in _recipient_updates(each, now)]:
        await connection.execute(_UPDATE_RECIPIENT, rows)
    if mine:
        await connection.execute(_UPDATE_MESSAGE, [_message_update(each, now) for each in mine])
    if tried := [attempt for each in mine for attempt in each.attempts]:
        await connection.execute(insert(attempts), tried)
    return owned


async def _lock_owned(connection: AsyncConnection, owner: str, ids: Sequence[str]) -> set[str]:
    query = (
        select(messages.c.id)
        .where(messages.c.id.in_(ids), messages.c.lease_owner == owner)
        .order_by(messages.c.id)
        .with_for_update()
    )
    return set((await connection.execute(query)).scalars())


_UPDATE_MESSAGE: Final = (
    update(messages)
    .where(messages.c.id == bindparam("b_id"))
    .values(
        status=bindparam("b_status"),
        due_at=bindparam("b_due_at"),
        lease_owner=None,
        updated_at=bindparam("b_now"),
        finished_at=bindparam("b_finished_at"),
    )
)

_UPDATE_RECIPIENT: Final = (
    update(recipients)
    .where(
        recipients.c.message_id == bindparam("b_message_id"),
        recipients.c.position == bindparam("b_position"),
    )
    .values(
        status=bindparam("b_status"),
        attempts=bindparam("b_attempts"),
        next_attempt_at=bindparam("b_next_attempt_at"),
        reply_code=bindparam("b_code"),
        reply_enhanced_code=bindparam("b_enhanced_code"),
        reply_text=bindparam("b_text"),
        classification=bindparam("b_classification"),
        updated_at=bindparam("b_now"),
        finished_at=bindparam("b_finished_at"),
    )
)


def _message_update(settlement: Settlement, now: datetime) -> dict[str, Any]:
    return {
        "b_id": settlement.message_id,
        "b_status": (settlement.status or MessageStatus.QUEUED).value,
        "b_due_at": settlement.due_at,
        "b_now": now,
        "b_finished_at": now if settlement.status is not None else None,
    }


def _recipient_updates(settlement: Settlement, now: datetime) -> Iterable[dict[str, Any]]:
    for each in settlement.recipients:
        yield {
            "b_message_id": settlement.message_id,
            "b_position": each.position,
            "b_status": each.status.value,
            "b_attempts": each.attempts,
            "b_next_attempt_at": each.next_attempt_at,
            "b_code": each.reply.code if each.reply else None,
            "b_enhanced_code": each.reply.enhanced_code if each.reply else None,
            "b_text": each.reply.text if each.reply else None,
            "b_classification": each.classification,
            "b_now": now,
            "b_finished_at": now if each.status in FINAL else None,
        }


async def expire(connection: AsyncConnection, *, now: datetime, limit: int) -> int:
    """End what is past its time and not being sent; answers how many messages that was."""
    overdue = (
        select(messages.c.id)
        .where(messages.c.expires_at <= now, messages.c.due_at.is_not(None), _is_free(now))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return await _finish(connection, overdue, RecipientEvent.EXPIRE, now)


async def cancel_orphans(connection: AsyncConnection, *, now: datetime, limit: int) -> int:
    """End what deleted profiles left unsent and nobody is sending; answers how many that was."""
    orphaned = (
        select(messages.c.id)
        .join(profiles, profiles.c.id == messages.c.profile_id)
        .where(profiles.c.deleted_at.is_not(None), messages.c.due_at.is_not(None), _is_free(now))
        .limit(limit)
        .with_for_update(of=messages, skip_locked=True)
    )
    return await _finish(connection, orphaned, RecipientEvent.CANCEL, now)


def _is_free(now: datetime) -> ColumnElement[bool]:
    """Whether nobody holds a message, or its holder's lease has ended."""
    return or_(messages.c.lease_owner.is_(None), messages.c.due_at <= now)


async def _finish(
    connection: AsyncConnection, which: Select[str], event: RecipientEvent, now: datetime
) -> int:
    ids = list((await connection.execute(which)).scalars())
    await finish_open(connection, message_ids=ids, event=event, now=now)
    return len(ids)


async def finish_open(
    connection: AsyncConnection,
    *,
    message_ids: Sequence[str],
    event: RecipientEvent,
    now: datetime,
) -> None:
    """Bring every unfinished recipient of these messages to its end by one event.

    The caller holds the rows: nobody is sending these messages. What the server last said stays.
    """
    if not message_ids:
        return
    addressed = await _recipients(connection, message_ids)
    ended = next_status(RecipientStatus.QUEUED, event)
    await connection.execute(
        update(recipients)
        .where(recipients.c.message_id.in_(message_ids), recipients.c.finished_at.is_(None))
        .values(status=ended.value, next_attempt_at=None, updated_at=now, finished_at=now)
    )
    finals = [
        {
            "b_id": message_id,
            "b_status": message_status(ended if each.is_open else each.status for each in group),
            "b_due_at": None,
            "b_now": now,
            "b_finished_at": now,
        }
        for message_id, group in addressed.items()
    ]
    await connection.execute(_UPDATE_MESSAGE, finals)
