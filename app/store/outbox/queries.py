"""Accept, claim, renew and release messages of the outbox; `results` settles them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from functools import cache
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, Self

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Update,
    and_,
    bindparam,
    literal_column,
    null,
    select,
    text,
    true,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.address.folding import fold
from app.domain.delivery.destinations import NO_DESTINATION
from app.domain.delivery.priority import compute_turn
from app.domain.delivery.status import TO_SEND
from app.domain.dsn_request import DsnRequest
from app.domain.errors import SealError
from app.domain.events import EventType, NewEvent
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.mime.build import parse_message_id
from app.domain.mime.byte_blocks import LARGE_BYTES
from app.domain.outcome.outcome import OUTCOME_UNKNOWN
from app.domain.types import (
    Guarantee,
    MessageStatus,
    NewMessage,
    Priority,
    RecipientStatus,
    SealedContent,
)
from app.store import events, suppressions
from app.store.db.array_params import any_of, unnest
from app.store.db.bulk import Bulk, Write
from app.store.db.clock import bind_now
from app.store.db.column_types import EPOCH, Instant
from app.store.db.copy import copy_row
from app.store.suppressions import Addressee
from app.store.tables.core import (
    IS_TO_SEND,
    UNFINISHED,
    message_contents,
    message_tags,
    messages,
    recipients,
)

OpenContent = Callable[..., bytes]  # `Vault.open_content`
QUEUED: Final = MessageStatus.QUEUED.value
SENDING: Final = MessageStatus.SENDING.value
# A dictionary lookup takes a fifth of the time of the enumeration's constructor.
_PRIORITIES: Final = {priority.value: priority for priority in Priority}
_GUARANTEES: Final = {guarantee.value: guarantee for guarantee in Guarantee}
_STATUSES: Final = {status.value: status for status in RecipientStatus}


@frozen_dataclass(kw_only=True)
class ClaimedRecipient:
    """A recipient of a claimed message, as of the claim."""

    position: int
    address: str
    status: RecipientStatus
    attempts: int
    next_attempt_at: datetime | None
    classification: str | None = None
    unknown_outcomes: int = 0

    @property
    def is_open(self) -> bool:
        """Whether Heloise still sends to the recipient."""
        return self.status in TO_SEND


@frozen_dataclass(kw_only=True)
class ClaimedMessage:
    """A message that only its owner works on until the lease ends (invariant 3).

    `former_owner` is the worker whose lease ended: it may have sent the message. `is_owner_gone`:
    the lease ended because that worker was gone, not by time. `sendable_at` is
    when it was accepted, or the later time that the caller has set. `mime` is encrypted if there is
    a `sealed_key`; `unreadable_reason` says why decryption failed. `request_id` and `traceparent`
    are those of its origin. With limits by destination, `allowed` maps the positions of the
    recipients that may get the message now to the numbers of their destinations, and
    `limited_destination` is the one among them that limits connections.
    """

    id: str
    tenant_id: str
    profile_id: str
    envelope_from: str
    priority: Priority
    guarantee: Guarantee
    sendable_at: datetime
    expires_at: datetime
    former_owner: str | None
    recipients: tuple[ClaimedRecipient, ...]
    mime: bytes = field(repr=False)
    dsn: DsnRequest | None = None
    has_verp: bool = False
    sealed_key: bytes | None = field(default=None, repr=False)
    unreadable_reason: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    allowed: Mapping[int, int] | None = field(default=None, hash=False)
    limited_destination: int = 0
    is_owner_gone: bool = False

    def may_send_to(self, recipient: ClaimedRecipient) -> bool:
        """Whether the recipient is open, and the limit of its destination allows it now."""
        is_allowed = self.allowed is None or recipient.position in self.allowed
        return is_allowed and recipient.is_open

    def unseal(self, open_content: OpenContent) -> Self:
        """Return the message with decrypted content, or with `unreadable_reason`."""
        if self.sealed_key is None:
            return self
        sealed = SealedContent(self.mime, self.sealed_key)
        try:
            return replace(self, mime=open_content(sealed, row=self.id), sealed_key=None)
        except SealError as error:
            return replace(self, mime=b"", sealed_key=None, unreadable_reason=str(error))

    @classmethod
    def from_new(cls, message: NewMessage) -> Self:
        """Build the claim of a message that its owner has just stored."""
        return cls(
            id=message.id,
            tenant_id=message.tenant_id,
            profile_id=message.profile_id,
            envelope_from=message.envelope_from,
            priority=message.priority,
            guarantee=message.guarantee,
            sendable_at=message.send_at or message.created_at,
            expires_at=message.expires_at,
            former_owner=None,
            recipients=tuple(
                ClaimedRecipient(
                    position=position,
                    address=recipient.named_address.address,
                    status=RecipientStatus.QUEUED,
                    attempts=0,
                    next_attempt_at=None,
                )
                for position, recipient in enumerate(message.recipients)
            ),
            mime=message.mime,
            dsn=message.dsn,
            has_verp=message.has_verp,
            request_id=message.origin.request_id,
            traceparent=message.origin.traceparent,
        )


@frozen_dataclass(kw_only=True)
class Lease:
    """The owner of these messages, and until when it owns them."""

    owner: str
    until: datetime
    message_ids: frozenset[str]

    def __len__(self) -> int:
        return len(self.message_ids)


NO_LEASE: Final = Lease(owner="", until=EPOCH, message_ids=frozenset())


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
        "dsn": None if message.dsn is None else message.dsn.as_dict(),
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


async def claim(
    connection: AsyncConnection,
    *,
    profile_id: str,
    owner: str,
    limit: int,
    now: datetime,
    lease_until: datetime,
    max_bytes: int,
    max_recipients: int | None = None,
    only_known_outcomes: bool = False,
    is_clock_checked: bool = False,
) -> list[ClaimedMessage]:
    """Lease up to `limit` due messages of one profile, oldest first.

    Returns at least one, and more only until they reach `max_bytes` or `max_recipients` together.
    Takes over messages whose lease has expired. With `only_known_outcomes`, skips messages with a
    recipient whose last outcome is unknown. With `is_clock_checked`, skips messages that are not
    due by the database's own time.
    """
    want = ClaimRequest(profile_id, limit, max_bytes, max_recipients)
    return await claim_many(
        connection,
        [want],
        owner=owner,
        now=now,
        lease_until=lease_until,
        only_known_outcomes=only_known_outcomes,
        is_clock_checked=is_clock_checked,
    )


@frozen_dataclass
class ClaimRequest:
    """How many messages, bytes and recipients a claim for a profile may take."""

    profile_id: str
    limit: int
    max_bytes: int
    max_recipients: int | None = None


async def claim_many(
    connection: AsyncConnection,
    requests: Sequence[ClaimRequest],
    *,
    owner: str,
    now: datetime,
    lease_until: datetime,
    only_known_outcomes: bool = False,
    is_clock_checked: bool = False,
) -> list[ClaimedMessage]:
    """Lease due messages of several profiles without destinations, as `claim` does for one."""
    parameters = {
        "profile_ids": [want.profile_id for want in requests],
        "now": now,
        "limit": max(want.limit for want in requests),
    }
    statement = _build_due_query(
        connection.dialect.name,
        only_known_outcomes=only_known_outcomes,
        is_clock_checked=is_clock_checked,
    )
    result = await connection.execute(statement, parameters)
    due_rows = sorted(result.all(), key=attrgetter("profile_id", "due_at", "id"))
    rows_by_profile = {
        profile_id: list(group)
        for profile_id, group in groupby(due_rows, key=attrgetter("profile_id"))
    }
    rows = [
        row
        for want in requests
        for row in _select_within(want, rows_by_profile.get(want.profile_id, []))
    ]
    return await lease_rows(connection, rows, owner=owner, now=now, lease_until=lease_until)


async def lease_rows(
    connection: AsyncConnection,
    rows: Sequence[Any],
    *,
    owner: str,
    now: datetime,
    lease_until: datetime,
) -> list[ClaimedMessage]:
    """Lease messages whose rows are locked."""
    ids = [row.id for row in rows]
    if not ids:
        return []
    await connection.execute(
        _LEASE, {"ids": ids, "owner": owner, "lease_until": lease_until, "now": now}
    )
    contents = await _load_contents(connection, ids)
    recipients_by_message = await load_recipients(connection, ids)
    addressees = [
        Addressee(row.tenant_id, row.id, recipient.position, recipient.address)
        for row in rows
        for recipient in recipients_by_message[row.id]
        if recipient.is_open
    ]
    if await suppressions.apply(connection, addressees=addressees, now=now):
        recipients_by_message = await load_recipients(connection, ids)
    return [
        ClaimedMessage(
            id=row.id,
            tenant_id=row.tenant_id,
            profile_id=row.profile_id,
            envelope_from=row.envelope_from,
            priority=_PRIORITIES[row.priority],
            guarantee=_GUARANTEES[row.guarantee],
            sendable_at=row.send_at or row.created_at,
            expires_at=row.expires_at,
            former_owner=row.lease_owner,
            is_owner_gone=row.lease_owner is not None and row.due_at == row.turn_at,
            recipients=recipients_by_message[row.id],
            mime=contents[row.id].mime,
            sealed_key=contents[row.id].sealed_key,
            dsn=DsnRequest.from_dict(row.dsn),
            has_verp=row.has_verp,
            request_id=contents[row.id].request_id,
            traceparent=contents[row.id].traceparent,
        )
        for row in rows
    ]


DUE_COLUMNS: Final = (
    "id",
    "tenant_id",
    "profile_id",
    "envelope_from",
    "priority",
    "guarantee",
    "created_at",
    "send_at",
    "expires_at",
    "due_at",
    "turn_at",
    "lease_owner",
    "dsn",
    "has_verp",
    "recipient_count",
)
_PROFILES: Final = unnest("profile_ids")


@cache
def _build_due_query(
    dialect: str, *, only_known_outcomes: bool, is_clock_checked: bool
) -> Select[Any]:
    """Build the query for the first due messages of each profile."""
    return build_due_query(
        dialect,
        _PROFILES,
        profile_id=_PROFILES.c.value,
        destination=literal_column("0"),
        columns=DUE_COLUMNS,
        only_known_outcomes=only_known_outcomes,
        is_clock_checked=is_clock_checked,
    )


def build_due_query(
    dialect: str,
    queues: FromClause,
    *,
    profile_id: ColumnElement[str],
    destination: ColumnElement[int],
    columns: Sequence[str],
    only_known_outcomes: bool,
    is_clock_checked: bool,
) -> Select[Any]:
    """Build the query for the first due messages of each queue; PostgreSQL skips locked rows.

    `profile_id` and `destination` identify the queue of a row of `queues`.
    """
    # SQLite has no LATERAL, and only one writer.
    table = messages if dialect == "postgresql" else messages.alias()
    due_query = (
        select(*(table.c[name] for name in columns))
        .where(
            table.c.profile_id == profile_id,
            table.c.destination == destination,
            table.c.due_at <= bind_now(is_clock_checked=is_clock_checked),
        )
        .order_by(table.c.due_at, table.c.id)
        .limit(bindparam("limit"))
        .correlate(queues)
    )
    if only_known_outcomes:
        due_query = due_query.where(~_has_unknown_outcome(table))
    if dialect == "postgresql":
        due: FromClause = due_query.with_for_update(skip_locked=True).lateral()
        query = select(*due.c, message_contents.c.size_bytes).join_from(queues, due, true())
    else:
        due = messages
        ids = due_query.with_only_columns(table.c.id)
        shown = (messages.c[name] for name in columns)
        query = select(*shown, message_contents.c.size_bytes).join_from(
            queues, messages, messages.c.id.in_(ids)
        )
    return query.join(message_contents, message_contents.c.message_id == due.c.id)


def _has_unknown_outcome(table: FromClause) -> ColumnElement[bool]:
    """Build the condition that an open recipient's last outcome is unknown."""
    return (
        select(recipients.c.message_id)
        .where(
            recipients.c.message_id == table.c.id,
            recipients.c.classification == OUTCOME_UNKNOWN,
            IS_TO_SEND,
        )
        .exists()
    )


_LEASE: Final = (
    update(messages)
    .where(any_of(messages.c.id, "ids"))
    .values(
        status=SENDING,
        lease_owner=bindparam("owner"),
        due_at=bindparam("lease_until"),
        updated_at=bindparam("now"),
    )
)


def _select_within(request: ClaimRequest, rows: Sequence[Any]) -> list[Any]:
    """Return the first rows that fit the request's limits, at least one."""
    first_rows, size_bytes, recipient_count = list[Any](), 0, 0
    for row in rows[: request.limit]:
        is_full = size_bytes >= request.max_bytes or (
            request.max_recipients is not None and recipient_count >= request.max_recipients
        )
        if first_rows and is_full:
            break
        first_rows.append(row)
        size_bytes += row.size_bytes
        recipient_count += row.recipient_count
    return first_rows


async def _load_contents(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, Any]:
    return {row.message_id: row for row in await connection.execute(_CONTENTS, {"ids": ids})}


_CONTENTS: Final = select(
    message_contents.c.message_id,
    message_contents.c.mime,
    message_contents.c.sealed_key,
    message_contents.c.request_id,
    message_contents.c.traceparent,
).where(any_of(message_contents.c.message_id, "ids"))


async def load_recipients(
    connection: AsyncConnection, ids: Sequence[str]
) -> dict[str, tuple[ClaimedRecipient, ...]]:
    """Load the recipients of locked messages, by message id, in order."""
    rows = await connection.execute(_RECIPIENTS, {"ids": ids})
    return {
        message_id: tuple(
            ClaimedRecipient(
                position=row.position,
                address=row.address,
                status=_STATUSES[row.status],
                attempts=row.attempts,
                next_attempt_at=row.next_attempt_at,
                classification=row.classification,
                unknown_outcomes=row.unknown_outcomes or 0,
            )
            for row in group
        )
        for message_id, group in groupby(rows, key=lambda row: row.message_id)
    }


_RECIPIENTS: Final = (
    select(
        recipients.c.message_id,
        recipients.c.position,
        recipients.c.address,
        recipients.c.status,
        recipients.c.attempts,
        recipients.c.next_attempt_at,
        recipients.c.classification,
        recipients.c.unknown_outcomes,
    )
    .where(any_of(recipients.c.message_id, "ids"))
    .order_by(recipients.c.message_id, recipients.c.position)
)


async def renew(
    connection: AsyncConnection, *, owner: str, message_ids: Sequence[str], lease_until: datetime
) -> set[str]:
    """Extend the leases of messages; return the ids that the owner still has."""
    parameters = {"ids": message_ids, "owner": owner, "lease_until": lease_until}
    return set((await connection.execute(_RENEW, parameters)).scalars())


_OWNED: Final = messages.alias("owned")
# Locked in the order of settlements: otherwise both could deadlock.
_IS_HELD: Final = messages.c.id.in_(
    select(_OWNED.c.id)
    .where(any_of(_OWNED.c.id, "ids"), _OWNED.c.lease_owner == bindparam("owner"))
    .order_by(_OWNED.c.id)
    .with_for_update()
)
_RENEW: Final = (
    update(messages)
    .where(_IS_HELD)
    .values(due_at=bindparam("lease_until"))
    .returning(messages.c.id)
)


async def release(
    connection: AsyncConnection, *, owner: str, message_ids: Sequence[str], now: datetime
) -> None:
    """Return messages to the queue, due at once."""
    await connection.execute(_RELEASE, {"ids": message_ids, "owner": owner, "now": now})


# A message without an attempt keeps its place in the queue.
_RELEASE: Final = (
    update(messages)
    .where(_IS_HELD)
    .values(
        status=QUEUED,
        lease_owner=null(),
        due_at=messages.c.turn_at,
        updated_at=bindparam("now"),
    )
)


async def release_all(connection: AsyncConnection) -> int:
    """End the leases of dead workers; return how many messages this frees.

    Only for the sole delivering process of a database, before its first claim.
    """
    result = await connection.execute(
        update(messages)
        .where(UNFINISHED, messages.c.lease_owner.is_not(None))
        .values(due_at=messages.c.turn_at)
    )
    return result.rowcount


async def end_leases(
    connection: AsyncConnection, *, owner: str, now: datetime, latest: datetime
) -> int:
    """End the leases of a worker that is gone; return how many messages this frees.

    They keep their places in the queue, and their owner's name for the takeover. Costs an index
    probe per queue, and reads what is due from `now` to `latest`, when every lease has ended.
    """
    parameters = {"owner": owner, "now": now, "latest": latest}
    return (await connection.execute(_build_end_leases(), parameters)).rowcount


@cache
def _build_end_leases() -> Update:
    """Build the statement, which finds every queue by one probe of the index of due messages."""
    place = (messages.c.profile_id, messages.c.destination)
    queues = (
        select(*place)
        .where(messages.c.due_at.is_not(None))
        .order_by(*place)
        .limit(1)
        .cte("queues", recursive=True)
    )
    later = messages.alias("later")
    later_place = (later.c.profile_id, later.c.destination)
    next_queue = (
        select(*later_place)
        .where(later.c.due_at.is_not(None), tuple_(*later_place) > tuple_(*queues.c))
        .order_by(*later_place)
        .limit(1)
        .lateral("next_queue")
    )
    queues = queues.union_all(select(*next_queue.c).select_from(queues.join(next_queue, true())))
    leased = (
        select(_OWNED.c.id)
        .join_from(
            queues,
            _OWNED,
            and_(
                _OWNED.c.profile_id == queues.c.profile_id,
                _OWNED.c.destination == queues.c.destination,
                _OWNED.c.due_at > bindparam("now", type_=Instant()),
                _OWNED.c.due_at <= bindparam("latest", type_=Instant()),
            ),
        )
        .where(_OWNED.c.lease_owner == bindparam("owner"))
        .order_by(_OWNED.c.id)
        .with_for_update(of=_OWNED)
    )
    return update(messages).where(messages.c.id.in_(leased)).values(due_at=messages.c.turn_at)
