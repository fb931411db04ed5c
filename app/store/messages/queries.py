"""List and read messages, without their bytes."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Select,
    Table,
    TextClause,
    and_,
    func,
    null,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.dsn_request import DsnRequest
from app.domain.errors import Gone, NotFound
from app.domain.mime.build import parse_message_id
from app.domain.search import Search
from app.domain.types import (
    Guarantee,
    MessageSource,
    MessageStatus,
    NamedAddress,
    Priority,
    RecipientAddress,
    RecipientStatus,
)
from app.store.db.keyset import newest_first, oldest_first, within
from app.store.messages.views import AttemptView, MessageView, build_view
from app.store.tables import core as tables
from app.store.tables.core import (
    HELD,
    NOT_BY_API,
    NOT_SENT,
    UNFINISHED,
    attempt_transcripts,
    has_address,
    is_of_tenant,
    message_contents,
    message_tags,
    messages,
    profiles,
    recipients,
)

MILLISECOND: Final = timedelta(milliseconds=1)

NOT_SENT_STATUSES: Final = frozenset(
    {MessageStatus.PARTIALLY_SENT, MessageStatus.FAILED, MessageStatus.CANCELLED}
)

# These recipients did not get the message, and will not get it.
FAILED_STATUSES: Final = frozenset(
    {RecipientStatus.BOUNCED, RecipientStatus.EXPIRED, RecipientStatus.CANCELLED}
)

_COLUMNS: Final = (
    messages.c.id,
    messages.c.status,
    messages.c.profile_id,
    profiles.c.name.label("profile_name"),
    message_contents.c.sender_address,
    message_contents.c.sender_name,
    message_contents.c.subject,
    message_contents.c.message_id_header,
    message_contents.c.size_bytes,
    message_contents.c.metadata,
    message_contents.c.is_sensitive,
    message_contents.c.wiped_at,
    messages.c.priority,
    messages.c.guarantee,
    messages.c.due_at,
    messages.c.destination,
    messages.c.created_at,
    messages.c.updated_at,
    messages.c.send_at,
    messages.c.expires_at,
    messages.c.finished_at,
    messages.c.retry_of,
    messages.c.source,
    message_contents.c.key_id,
    message_contents.c.request_id,
    message_contents.c.traceparent,
    message_contents.c.client_address,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages to select: those that match all filters.

    `created_after` is inclusive, `created_before` exclusive. `recipient` ignores case. `message_id`
    is the header field Message-ID. `profile_ids` restricts to these profiles. `ids` and `statuses`
    list alternatives; empty means any.
    """

    ids: Collection[str] = ()
    statuses: Collection[MessageStatus] = ()
    profile_id: str | None = None
    tag: str | None = None
    recipient: str | None = None
    key_id: str | None = None
    source: MessageSource | None = None
    request_id: str | None = None
    message_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    profile_ids: Sequence[str] | None = None


NO_FILTER: Final = MessageFilter()


async def page(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    limit: int,
    now: datetime,
    after: str | None = None,
    before: str | None = None,
    message_filter: MessageFilter = NO_FILTER,
) -> list[MessageView]:
    """Return a page of the tenant's matching messages, newest first."""
    message_ids = await list_ids(
        connection,
        tenant_id=tenant_id,
        limit=limit,
        now=now,
        after=after,
        before=before,
        message_filter=message_filter,
    )
    return await _load_views(connection, tenant_id, message_ids)


async def list_ids(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    limit: int,
    now: datetime,
    after: str | None = None,
    before: str | None = None,
    message_filter: MessageFilter = NO_FILTER,
) -> Sequence[str]:
    """Return the ids of such a page."""
    query, key = _build_query(tenant_id, message_filter, now)
    query = newest_first(query, key, limit=limit, after=after, before=before)
    return (await connection.execute(query)).scalars().all()


async def search(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    limit: int,
    max_scanned: int,
    now: datetime,
    criteria: Search,
    after: str | None = None,
    message_filter: MessageFilter = NO_FILTER,
) -> tuple[list[MessageView], str | None]:
    """Return up to `limit` messages that match filter and search, newest first.

    Examines up to `max_scanned` messages. Also returns the id to continue before, or None at the
    end. Wiped messages have no subject, erased ones no metadata.
    """
    query, key = _build_query(tenant_id, message_filter, now)
    candidates = newest_first(query, key, limit=max_scanned, after=after).subquery()
    contents = (
        select(
            message_contents.c.message_id, message_contents.c.subject, message_contents.c.metadata
        )
        .join(candidates, candidates.c[0] == message_contents.c.message_id)
        .order_by(message_contents.c.message_id.desc())
    )
    rows = (await connection.execute(contents)).all()
    message_ids = list[str]()
    for row in rows:
        if criteria.matches(row.subject, row.metadata):
            message_ids.append(row.message_id)
            if len(message_ids) == limit:
                return await _load_views(connection, tenant_id, message_ids), row.message_id
    end = rows[-1].message_id if len(rows) == max_scanned else None
    return await _load_views(connection, tenant_id, message_ids), end


def select_ids(tenant_id: str, message_filter: MessageFilter, now: datetime) -> Select[str]:
    """Build the query for the ids of the tenant's matching messages."""
    return _build_query(tenant_id, message_filter, now)[0]


async def count(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    limit: int,
    now: datetime,
    message_filter: MessageFilter = NO_FILTER,
) -> int:
    """Count the matching messages, up to `limit`."""
    query, _ = _build_query(tenant_id, message_filter, now)
    count_query = select(func.count()).select_from(query.limit(limit).subquery())
    return int((await connection.execute(count_query)).scalar_one())


def _build_query(
    tenant_id: str, message_filter: MessageFilter, now: datetime
) -> tuple[Select[str], ColumnElement[str]]:
    """Build the query for matching ids; return it with their column."""
    query, key = _build_id_query(tenant_id, message_filter)
    of_message = list[ColumnElement[bool] | TextClause]()
    if key is message_contents.c.message_id:  # which knows no tenant
        of_message.append(is_of_tenant(messages.c.tenant_id, tenant_id))
    of_message += _build_row_conditions(message_filter, now)
    if key is messages.c.id:  # other queries use another index
        of_message += _partial(message_filter)
    if message_filter.ids:
        query = query.where(key.in_(message_filter.ids))
    if message_filter.message_id is not None:
        query = query.where(_has_message_id(key, message_filter.message_id))
    after, before = message_filter.created_after, message_filter.created_before
    of_message += within(key, messages.c.created_at, "msg", after=after, before=before)
    if of_message and key is not messages.c.id:
        query = query.join(messages, messages.c.id == key)
    return query.where(*of_message), key


def _build_row_conditions(
    message_filter: MessageFilter, now: datetime
) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions that concern a row of `messages` alone."""
    if message_filter.statuses:
        yield or_(*(_has_status(status, now) for status in message_filter.statuses))
    if message_filter.source is not None:
        yield messages.c.source == message_filter.source.value
    if message_filter.profile_id is not None:
        yield messages.c.profile_id == message_filter.profile_id
    if message_filter.profile_ids is not None:
        yield messages.c.profile_id.in_(message_filter.profile_ids)


def _has_message_id(key: ColumnElement[str], header: str) -> ColumnElement[bool]:
    """Build the condition for the header Message-ID: made from the id, or given by the caller."""
    ids_by_header = select(message_contents.c.message_id).where(
        message_contents.c.given_message_id.is_not(None),
        message_contents.c.given_message_id == header,
    )
    return or_(key == parse_message_id(header), key.in_(ids_by_header))


def _has_status(status: MessageStatus, now: datetime) -> ColumnElement[bool]:
    """Build the condition for a status now: waiting messages are scheduled until `send_at`."""
    is_later = messages.c.send_at > now
    if status is MessageStatus.SCHEDULED:
        return and_(messages.c.status == MessageStatus.QUEUED.value, is_later)
    has_status = messages.c.status == status.value
    if status is not MessageStatus.QUEUED:
        return has_status
    return and_(has_status, or_(messages.c.send_at.is_(None), ~is_later))


def _partial(message_filter: MessageFilter) -> Iterator[TextClause]:
    """Yield the conditions of the partial indexes that cover the filter."""
    if message_filter.source not in {None, MessageSource.API}:
        yield NOT_BY_API
    statuses = message_filter.statuses
    if MessageStatus.SENT not in statuses:
        conditions = {
            NOT_SENT if status in NOT_SENT_STATUSES else UNFINISHED for status in statuses
        }
        if set(statuses) == {MessageStatus.HELD}:
            yield HELD
        elif len(conditions) == 1:
            yield from conditions


def _build_id_query(
    tenant_id: str, message_filter: MessageFilter
) -> tuple[Select[str], ColumnElement[str]]:
    """Build the query for ids by recipient, tag, key and request; return it with their column.

    Selects ids in the order of an index, and their content later. So a page costs a page on SQLite
    too, which would otherwise read everything and sort it.
    """
    tables_and_conditions = list[tuple[Table, Sequence[ColumnElement[bool]]]]()
    if message_filter.recipient is not None:
        of_recipient = (
            recipients.c.tenant_id == tenant_id,
            has_address(message_filter.recipient),
        )
        tables_and_conditions.append((recipients, of_recipient))
    if message_filter.tag is not None:
        of_tag = (message_tags.c.tenant_id == tenant_id, message_tags.c.tag == message_filter.tag)
        tables_and_conditions.append((message_tags, of_tag))
    of_content = list[ColumnElement[bool]]()
    if message_filter.key_id is not None:
        of_content.append(message_contents.c.key_id == message_filter.key_id)
    if message_filter.request_id is not None:
        of_content.append(message_contents.c.request_id == message_filter.request_id)
    if of_content:
        tables_and_conditions.append((message_contents, of_content))
    if not tables_and_conditions:
        return select(messages.c.id).where(messages.c.tenant_id == tenant_id), messages.c.id
    (first_table, conditions), *others = tables_and_conditions
    key = first_table.c.message_id
    query = select(key).where(*conditions)
    for table, conditions in others:
        query = query.join(table, table.c.message_id == key).where(*conditions)
    return query, key


async def get(connection: AsyncConnection, *, tenant_id: str, message_id: str) -> MessageView:
    """Return the tenant's message with this id; raise NotFound."""
    views = await _load_views(connection, tenant_id, [message_id])
    if not views:
        raise NotFound("message", message_id)
    return views[0]


async def list_attempts(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    message_id: str,
    limit: int,
    after: str | None,
    with_transcripts: bool = False,
) -> list[AttemptView]:
    """Return a page of a message's attempts, oldest first; raise NotFound."""
    await _check_owner(connection, tenant_id, message_id)
    transcript = attempt_transcripts.c.transcript
    query = select(
        *(tables.attempts.c[name] for name in _ATTEMPT_COLUMNS),
        transcript if with_transcripts else null().label("transcript"),
    ).where(tables.attempts.c.tenant_id == tenant_id, tables.attempts.c.message_id == message_id)
    query = oldest_first(query, tables.attempts.c.id, limit=limit, after=after)
    if with_transcripts:
        query = query.outerjoin(
            attempt_transcripts, attempt_transcripts.c.attempt_id == tables.attempts.c.id
        )
    return [AttemptView(**row) for row in (await connection.execute(query)).mappings()]


_ATTEMPT_COLUMNS: Final = tuple(
    column.name for column in fields(AttemptView) if column.name != "transcript"
)


async def _check_owner(connection: AsyncConnection, tenant_id: str, message_id: str) -> None:
    query = select(messages.c.id).where(
        messages.c.tenant_id == tenant_id, messages.c.id == message_id
    )
    if (await connection.execute(query)).scalar_one_or_none() is None:
        raise NotFound("message", message_id)


async def load_content(connection: AsyncConnection, *, tenant_id: str, message_id: str) -> bytes:
    """Return the bytes for the wire; raise NotFound, or Gone if wiped or sensitive."""
    query = (
        select(
            message_contents.c.mime, message_contents.c.is_sensitive, message_contents.c.wiped_at
        )
        .join(messages, messages.c.id == message_contents.c.message_id)
        .where(messages.c.tenant_id == tenant_id, messages.c.id == message_id)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound("message", message_id)
    if row.is_sensitive:
        raise Gone(
            "content-sensitive",
            "The message is sensitive, so Heloise shows its content to nobody. GET /messages/{id}"
            " returns the rest.",
        )
    if row.wiped_at is not None:
        raise Gone(
            "content-wiped",
            f"Heloise deleted the message's content at {row.wiped_at:%Y-%m-%dT%H:%M:%SZ}. GET"
            " /messages/{id} still returns the rest.",
        )
    mime: bytes = row.mime
    return mime


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The data for a retry; `failed_recipients` did not get the message."""

    profile_id: str
    envelope_from: str
    priority: Priority
    guarantee: Guarantee
    max_age: timedelta
    sender: NamedAddress
    subject: str
    message_id_header: str
    metadata: Mapping[str, str]
    tags: tuple[str, ...]
    failed_recipients: tuple[RecipientAddress, ...]
    dsn: DsnRequest | None
    has_verp: bool
    mime: bytes = field(repr=False)


async def load_original(
    connection: AsyncConnection, *, tenant_id: str, message_id: str
) -> Original:
    """Load a message with its bytes; raise NotFound, or Gone if wiped or sensitive."""
    mime = await load_content(connection, tenant_id=tenant_id, message_id=message_id)
    view = await get(connection, tenant_id=tenant_id, message_id=message_id)
    query = select(messages.c.envelope_from, messages.c.dsn, messages.c.has_verp).where(
        messages.c.tenant_id == tenant_id, messages.c.id == message_id
    )
    envelope = (await connection.execute(query)).one()
    starts_at = max(view.created_at, view.send_at or view.created_at)
    return Original(
        profile_id=view.profile_id,
        envelope_from=envelope.envelope_from,
        dsn=DsnRequest.from_dict(envelope.dsn),
        has_verp=envelope.has_verp,
        priority=view.priority,
        guarantee=view.guarantee,
        max_age=view.expires_at - starts_at,
        sender=view.sender,
        subject=view.subject,
        message_id_header=view.message_id_header,
        metadata=view.metadata,
        tags=view.tags,
        failed_recipients=tuple(
            RecipientAddress(NamedAddress(recipient.address, recipient.name), recipient.kind)
            for recipient in view.recipients
            if recipient.status in FAILED_STATUSES and recipient.erased_at is None
        ),
        mime=mime,
    )


async def _load_views(
    connection: AsyncConnection, tenant_id: str, ids: Sequence[str]
) -> list[MessageView]:
    """Load the tenant's messages with these ids, newest first."""
    query = (
        select(*_COLUMNS)
        .join(message_contents, message_contents.c.message_id == messages.c.id)
        .join(profiles, profiles.c.id == messages.c.profile_id)
        .where(messages.c.tenant_id == tenant_id, messages.c.id.in_(ids))
        .order_by(messages.c.id.desc())
    )
    rows = (await connection.execute(query)).mappings().all()
    recipients_by_message = await _load_recipients(connection, tenant_id, ids)
    tags_by_message = await _load_tags(connection, tenant_id, ids)
    return [
        build_view(
            row, recipients_by_message.get(row["id"], ()), tags_by_message.get(row["id"], ())
        )
        for row in rows
    ]


async def _load_recipients(
    connection: AsyncConnection, tenant_id: str, ids: Sequence[str]
) -> dict[str, list[RowMapping]]:
    query = (
        select(recipients)
        .where(is_of_tenant(recipients.c.tenant_id, tenant_id), recipients.c.message_id.in_(ids))
        .order_by(recipients.c.message_id, recipients.c.position)
    )
    return _group_by_message((await connection.execute(query)).mappings())


async def _load_tags(
    connection: AsyncConnection, tenant_id: str, ids: Sequence[str]
) -> dict[str, list[RowMapping]]:
    query = (
        select(message_tags.c.message_id, message_tags.c.tag)
        .where(
            is_of_tenant(message_tags.c.tenant_id, tenant_id), message_tags.c.message_id.in_(ids)
        )
        .order_by(message_tags.c.message_id)
    )
    return _group_by_message((await connection.execute(query)).mappings())


def _group_by_message(rows: Iterable[RowMapping]) -> dict[str, list[RowMapping]]:
    return {
        message_id: list(group)
        for message_id, group in groupby(rows, key=lambda row: str(row["message_id"]))
    }
