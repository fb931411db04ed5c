"""Check new messages, and store them in the outbox."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Integer, literal, select, text, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.address.folding import fold
from app.domain.delivery.destinations import NO_DESTINATION
from app.domain.delivery.priority import compute_turn
from app.domain.events import EventType, NewEvent
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.mime.build import parse_message_id
from app.domain.mime.byte_blocks import LARGE_BYTES
from app.domain.types import MessageStatus, NewMessage, RecipientStatus
from app.store import events, suppressions
from app.store.db.array_params import any_of
from app.store.db.bulk import Bulk, Write
from app.store.db.copy import copy_row
from app.store.outbox.leases import NO_LEASE, Lease
from app.store.tables.core import (
    lanes,
    message_contents,
    message_tags,
    messages,
    profiles,
    recipients,
)
from app.store.tables.core import suppressions as suppression_rows

QUEUED: Final = MessageStatus.QUEUED.value
SENDING: Final = MessageStatus.SENDING.value


@frozen_dataclass
class Admission:
    """What the database knows about a group of new messages.

    `ready`: the id and revision of each requested profile that is active and not failing.
    `may_suppress`: whether a tenant suppresses one of the recipients, if only for a tag.
    """

    ready: frozenset[tuple[str, int]]
    may_suppress: bool


async def check_admission(
    connection: AsyncConnection, new_messages: Sequence[NewMessage], *, profile_ids: Sequence[str]
) -> Admission:
    """Look up these profiles, and suppressions of the messages' recipients."""
    keys = suppressions.collect_keys(
        (message.tenant_id, recipient.named_address.address)
        for message in new_messages
        for recipient in message.recipients
    )
    rows = await connection.execute(_CHECK, {"profile_ids": profile_ids, "keys_by_tenant": keys})
    pairs = [(row.id, row.revision) for row in rows]
    ready = frozenset(pair for pair in pairs if pair[1] != _SUPPRESSION)
    return Admission(ready, may_suppress=len(ready) < len(pairs))


_SUPPRESSION: Final = 0  # profiles begin with revision 1
_CHECK: Final = union_all(
    select(profiles.c.id, profiles.c.revision)
    .join(lanes, lanes.c.profile_id == profiles.c.id)
    .where(
        any_of(profiles.c.id, "profile_ids"),
        profiles.c.paused_at.is_(None),
        profiles.c.deleted_at.is_(None),
        lanes.c.failing_since.is_(None),
    ),
    select(suppression_rows.c.id, literal(_SUPPRESSION, Integer())).select_from(
        suppressions.COVERING
    ),
)


async def accept(
    connection: AsyncConnection, new_messages: Sequence[NewMessage], lease: Lease = NO_LEASE
) -> None:
    """Insert new messages: leased ones for their owner, others due at once."""
    rows = [_message_row(message) for message in new_messages]
    lease_values = {"status": SENDING, "lease_owner": lease.owner, "due_at": lease.until}
    for row in rows:
        if row["id"] in lease.message_ids:
            row.update(lease_values)
    contents = [
        _content_row(message) for message in new_messages if not _is_large(connection, message)
    ]
    await _ACCEPT.execute(
        connection,
        rows,
        contents,
        [row for message in new_messages for row in _recipient_rows(message)],
        [row for message in new_messages for row in _tag_rows(message)],
        events.build_rows(_build_event(message) for message in new_messages),
    )
    for message in new_messages:
        if _is_large(connection, message):
            await copy_row(connection, message_contents, _content_row(message))


def fits_one_statement(connection: AsyncConnection, new_messages: Iterable[NewMessage]) -> bool:
    """Whether `accept` needs one statement only, and so no transaction."""
    return not any(_is_large(connection, message) for message in new_messages)


def _is_large(connection: AsyncConnection, message: NewMessage) -> bool:
    """Whether building a statement from the bytes would block the event loop."""
    return len(message.mime) > LARGE_BYTES and connection.dialect.name == "postgresql"


def _build_event(message: NewMessage) -> NewEvent:
    kind = EventType.MESSAGE_SCHEDULED if message.is_scheduled else EventType.MESSAGE_QUEUED
    return NewEvent(kind, message.created_at, message.tenant_id, message.profile_id, message.id)


_ACCEPT: Final = Bulk(
    Write.insert(messages),
    Write.insert(message_contents),
    Write.insert(recipients),
    Write.insert(message_tags),
    events.APPEND,
)


async def is_committed(connection: AsyncConnection, *, message_id: str) -> bool:
    """Whether a message is stored, after a commit without an answer.

    Waits for all current writers, since the commit may be among them: a server continues a
    statement after its client has gone.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(_AFTER_ALL_WRITERS)
    # The lock is written, so the answer's own commit waits until a synchronous standby has all that
    # came before.
    query = select(messages.c.id).where(messages.c.id == message_id)
    locking = query.with_for_update(read=True, key_share=True)
    return (await connection.execute(locking)).scalar_one_or_none() is not None


_AFTER_ALL_WRITERS: Final = text(f"LOCK TABLE {messages.name} IN SHARE MODE")


def _message_row(message: NewMessage) -> dict[str, Any]:
    turn = compute_turn(message.send_at, message.priority, message.created_at)
    return {
        "id": message.id,
        "tenant_id": message.tenant_id,
        "profile_id": message.profile_id,
        "status": QUEUED,
        "due_at": turn.due_at,
        "turn_at": turn.turn_at,
        "lease_owner": None,
        "priority": message.priority.value,
        "guarantee": message.guarantee.value,
        "envelope_from": message.envelope_from,
        "recipient_count": len(message.recipients),
        "created_at": message.created_at,
        "updated_at": message.created_at,
        "expires_at": message.expires_at,
        "send_at": message.send_at,
        "retry_of": message.retry_of,
        "dsn": message.dsn,
        "has_verp": message.has_verp,
        "wipes_content": message.is_sensitive,
        "erases_recipients": False,
        "source": message.origin.source.value,
        "destination": NO_DESTINATION,
    }


def _content_row(message: NewMessage) -> dict[str, Any]:
    """Build the row of the content; a sensitive subject is only in its sealed bytes."""
    sealed = message.sealed
    is_given = parse_message_id(message.message_id_header) != message.id
    return {
        "message_id": message.id,
        "sender_address": message.sender.address,
        "sender_name": message.sender.name,
        "subject": message.subject if sealed is None else "",
        "message_id_header": message.message_id_header,
        "given_message_id": message.message_id_header if is_given else None,
        "metadata": dict(message.metadata),
        "size_bytes": len(message.mime),
        "mime": message.mime if sealed is None else sealed.content,
        "key_id": message.origin.key_id,
        "request_id": message.origin.request_id,
        "traceparent": message.origin.traceparent,
        "client_address": message.origin.client_address,
        "is_sensitive": message.is_sensitive,
        "sealed_key": None if sealed is None else sealed.key,
    }


def _recipient_rows(message: NewMessage) -> Iterable[dict[str, Any]]:
    for position, recipient in enumerate(message.recipients):
        yield {
            "message_id": message.id,
            "position": position,
            "tenant_id": message.tenant_id,
            "kind": recipient.kind.value,
            "address": (address := recipient.named_address.address),
            "folded_address": None if address.isascii() else fold(address),
            "name": recipient.named_address.name,
            "status": RecipientStatus.QUEUED.value,
            "attempts": 0,
            "updated_at": message.created_at,
        }


def _tag_rows(message: NewMessage) -> Iterable[dict[str, Any]]:
    for tag in dict.fromkeys(message.tags):
        yield {"tenant_id": message.tenant_id, "tag": tag, "message_id": message.id}
