"""Claim due messages of the outbox: lease them, and load what delivery needs."""

from collections.abc import Callable, Mapping, Sequence
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
    Text,
    bindparam,
    column,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery.due_ranges import DueRange
from app.domain.delivery.status import TO_SEND
from app.domain.dsn_request import DsnRequest
from app.domain.errors import SealError
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.outcome.outcome import OUTCOME_UNKNOWN
from app.domain.types import (
    Guarantee,
    MessageStatus,
    NewMessage,
    Priority,
    RecipientStatus,
    SealedContent,
)
from app.store import suppressions
from app.store.db.array_params import any_of, expect_few, unnest, unnest_records
from app.store.db.clock import bind_now
from app.store.db.column_types import EPOCH, Instant
from app.store.suppressions import Addressee
from app.store.tables.core import IS_TO_SEND, message_contents, messages, recipients

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
    `limited_destination` is the one among them that limits connections. `due_at` is when the claim
    found it due; None if it was handed over.
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
    due_at: datetime | None = None

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


@frozen_dataclass
class ClaimRequest:
    """What a claim may take of a profile.

    At least one message, and more only until they reach `limit`, `max_bytes` or `max_recipients`
    together. On PostgreSQL, only due times within `ranges`, if there are any; they do not overlap.
    """

    profile_id: str
    limit: int
    max_bytes: int
    max_recipients: int | None = None
    ranges: tuple[DueRange, ...] = ()


async def claim(
    connection: AsyncConnection,
    requests: Sequence[ClaimRequest],
    *,
    owner: str,
    now: datetime,
    lease_until: datetime,
    only_known_outcomes: bool = False,
    is_clock_checked: bool = False,
) -> list[ClaimedMessage]:
    """Lease due messages that belong to no destination, the first due of each profile first.

    Takes over messages whose lease has expired. With `only_known_outcomes`, skips messages with a
    recipient whose last outcome is unknown. With `is_clock_checked`, skips messages that are not
    due by the database's own time.
    """
    dialect = connection.dialect.name
    queues = (
        {"ranges": _list_ranges(requests, now)}
        if dialect == "postgresql"
        else {"profile_ids": [request.profile_id for request in requests]}
    )
    parameters = {
        **queues,
        "now": now,
        "limit": max(request.limit for request in requests),
    }
    statement = _build_due_query(
        dialect,
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
        for request in requests
        for row in _select_within(request, rows_by_profile.get(request.profile_id, []))
    ]
    return await lease_rows(connection, rows, owner=owner, now=now, lease_until=lease_until)


def _list_ranges(requests: Sequence[ClaimRequest], now: datetime) -> list[dict[str, Any]]:
    return [
        {"profile_id": request.profile_id, "lower": due_range.lower, "upper": due_range.upper}
        for request in requests
        for due_range in request.ranges or (DueRange(EPOCH, now),)
    ]


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
            due_at=row.due_at,
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
_RANGES: Final = unnest_records(
    "ranges", column("profile_id", Text()), column("lower", Instant), column("upper", Instant)
)


@cache
def _build_due_query(
    dialect: str, *, only_known_outcomes: bool, is_clock_checked: bool
) -> Select[Any]:
    """Build the query for the first due messages of each profile, or of each range."""
    is_postgresql = dialect == "postgresql"
    return build_due_query(
        dialect,
        _RANGES if is_postgresql else _PROFILES,
        profile_id=_RANGES.c.profile_id if is_postgresql else _PROFILES.c.value,
        destination=literal_column("0"),
        columns=DUE_COLUMNS,
        bounds=(_RANGES.c.lower, _RANGES.c.upper) if is_postgresql else None,
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
    bounds: tuple[ColumnElement[datetime], ColumnElement[datetime]] | None = None,
) -> Select[Any]:
    """Build the query for the first due messages of each queue; PostgreSQL skips locked rows.

    `profile_id` and `destination` identify the queue of a row of `queues`, and `bounds` which of
    its due times to read.
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
    if bounds is not None:
        due_query = due_query.where(table.c.due_at.between(*bounds))
    if only_known_outcomes:
        due_query = due_query.where(~_has_unknown_outcome(table))
    if dialect == "postgresql":
        due: FromClause = due_query.with_for_update(skip_locked=True).lateral()
        query = select(*due.c, message_contents.c.size_bytes).join_from(queues, due, true())
        if bounds is not None:
            query = query.where(expect_few(profile_id))
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
