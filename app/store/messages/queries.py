"""List and read messages, without their bytes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import (
    RowMapping,
    func,
    null,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.dsn_request import DsnRequest
from app.domain.errors import Gone, NotFound
from app.domain.search import Search
from app.domain.types import (
    NamedAddress,
    RecipientAddress,
    RecipientStatus,
)
from app.store import events
from app.store.db.keyset import newest_first, oldest_first
from app.store.db.rows import group_rows
from app.store.messages.filters import NO_FILTER, MessageFilter, build_query
from app.store.messages.views import AttemptView, MessageView, build_view
from app.store.tables import core as tables
from app.store.tables.core import (
    attempt_transcripts,
    is_of_tenant,
    message_contents,
    messages,
    profiles,
    recipients,
)

FAILED_STATUSES: Final = frozenset(
    {RecipientStatus.BOUNCED, RecipientStatus.EXPIRED, RecipientStatus.CANCELLED}
)

_FIELDS: Final = frozenset(view_field.name for view_field in fields(MessageView))
_COLUMNS: Final = (
    *(column for column in messages.c if column.name in _FIELDS),
    *(column for column in message_contents.c if column.name in _FIELDS),
    profiles.c.name.label("profile_name"),
    message_contents.c.sender_address,
    message_contents.c.sender_name,
    message_contents.c.wiped_at,
)


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
    query, key = build_query(tenant_id, message_filter, now)
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
    query, key = build_query(tenant_id, message_filter, now)
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


async def count(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    limit: int,
    now: datetime,
    message_filter: MessageFilter = NO_FILTER,
) -> int:
    """Count the matching messages, up to `limit`."""
    query, _ = build_query(tenant_id, message_filter, now)
    count_query = select(func.count()).select_from(query.limit(limit).subquery())
    return int((await connection.execute(count_query)).scalar_one())


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
    """A message, and what a retry of it needs besides its view."""

    view: MessageView
    envelope_from: str
    dsn: DsnRequest | None
    has_verp: bool
    mime: bytes = field(repr=False)

    @property
    def max_age(self) -> timedelta:
        """Return how long Heloise tried to send the message at most."""
        created_at = self.view.created_at
        return self.view.expires_at - max(created_at, self.view.send_at or created_at)

    @property
    def failed_recipients(self) -> tuple[RecipientAddress, ...]:
        """Return the recipients that did not get the message, and will not get it."""
        return tuple(
            RecipientAddress(NamedAddress(recipient.address, recipient.name), recipient.kind)
            for recipient in self.view.recipients
            if recipient.status in FAILED_STATUSES and recipient.erased_at is None
        )


async def load_original(
    connection: AsyncConnection, *, tenant_id: str, message_id: str
) -> Original:
    """Load a message with its bytes; raise NotFound, or Gone if wiped or sensitive."""
    mime = await load_content(connection, tenant_id=tenant_id, message_id=message_id)
    query = select(messages.c.envelope_from, messages.c.dsn, messages.c.has_verp).where(
        messages.c.tenant_id == tenant_id, messages.c.id == message_id
    )
    envelope = (await connection.execute(query)).one()
    return Original(
        view=await get(connection, tenant_id=tenant_id, message_id=message_id),
        envelope_from=envelope.envelope_from,
        dsn=DsnRequest.from_dict(envelope.dsn),
        has_verp=envelope.has_verp,
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
    tags = await events.load_tags(connection, [row["id"] for row in rows])
    return [
        build_view(row, recipients_by_message.get(row["id"], ()), tags.get(row["id"], ()))
        for row in rows
    ]


async def _load_recipients(
    connection: AsyncConnection, tenant_id: str, ids: Sequence[str]
) -> dict[str, tuple[RowMapping, ...]]:
    query = (
        select(recipients)
        .where(is_of_tenant(recipients.c.tenant_id, tenant_id), recipients.c.message_id.in_(ids))
        .order_by(recipients.c.message_id, recipients.c.position)
    )
    return await group_rows(connection, query, "message_id", lambda row: row)
