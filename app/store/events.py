"""Write events with their change, and read them in order without gaps.

Events are ordered by transaction, and within a transaction as written. Reads stop before the first
open transaction, so that no event can appear behind a reader.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, TypedDict, Unpack

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    RowMapping,
    Select,
    delete,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery.status import FINAL
from app.domain.events import (
    FIRST_POSITION,
    Event,
    EventMessage,
    EventRecipient,
    EventType,
    NewEvent,
    Position,
    recipient_event_type,
)
from app.domain.ids import new_id
from app.domain.types import MessageSource, NamedAddress, RecipientKind, RecipientStatus
from app.store.db.array_params import any_of
from app.store.db.bulk import Bulk, Write
from app.store.db.expressions import DialectExpression
from app.store.db.keyset import earliest_id
from app.store.db.rows import from_row, group_rows
from app.store.db.transaction_observer import note_finished
from app.store.tables.core import (
    is_of_tenant,
    message_contents,
    message_tags,
    messages,
    profiles,
    recipients,
)
from app.store.tables.events import events, webhooks

LAST_NUMBER: Final = 2**63 - 1


class _Transaction(DialectExpression[int]):
    """The id of the writing transaction; 0 on SQLite, which has one writer."""

    type = BigInteger()
    inherit_cache = True
    sqlite = "0"
    postgresql = "pg_current_xact_id()::text::bigint"


APPEND: Final = Write.insert(
    events,
    [column.name for column in events.c if column.name not in {"number", "transaction_id"}],
    transaction_id=_Transaction(),
)
_APPEND: Final = Bulk(APPEND)


async def append(connection: AsyncConnection, new_events: Sequence[NewEvent]) -> None:
    """Insert events in this order."""
    await _APPEND.execute(connection, build_rows(new_events))


def build_rows(new_events: Iterable[NewEvent]) -> list[Mapping[str, Any]]:
    """Build the rows that `APPEND` writes, in this order."""
    return [
        {
            "id": new_id("evt"),
            "tenant_id": event.tenant_id,
            "type": event.type.value,
            "profile_id": event.profile_id,
            "message_id": event.message_id,
            "position": event.position,
            "data": event.data,
            "created_at": event.at,
        }
        for event in new_events
    ]


async def append_recipient_events(
    connection: AsyncConnection,
    places: Iterable[tuple[str, int]],
    status: RecipientStatus,
    now: datetime,
) -> None:
    """Insert an event for each recipient that reached `status`.

    A place is a message id and the recipient's position.
    """
    ordered = sorted(places)
    if not ordered:
        return
    message_ids = {message_id for message_id, _ in ordered}
    owners = {row.id: row for row in await connection.execute(_OWNERS, {"ids": message_ids})}
    kind = recipient_event_type(status)
    new_events = [
        NewEvent(
            kind,
            now,
            owners[message_id].tenant_id,
            owners[message_id].profile_id,
            message_id,
            position,
        )
        for message_id, position in ordered
    ]
    await append(connection, new_events)
    if status in FINAL:
        for event in new_events:
            note_finished(connection, status, event.tenant_id, event.profile_id)


_OWNERS: Final = select(messages.c.id, messages.c.tenant_id, messages.c.profile_id).where(
    any_of(messages.c.id, "ids")
)


async def append_profile_event(
    connection: AsyncConnection,
    kind: EventType,
    *,
    profile_id: str,
    now: datetime,
    data: dict[str, Any] | None = None,
) -> None:
    """Insert an event of a profile."""
    query = select(profiles.c.tenant_id).where(profiles.c.id == profile_id)
    tenant_id = (await connection.execute(query)).scalar_one()
    await append(connection, [NewEvent(kind, now, tenant_id, profile_id, data=data)])


async def horizon(connection: AsyncConnection) -> Position:
    """Return the position up to which events are readable: later ones sort after it."""
    if connection.dialect.name == "postgresql":
        xmin_query = select(func.pg_snapshot_xmin(func.pg_current_snapshot()))
        xmin = int((await connection.execute(xmin_query)).scalar_one())
        return Position(xmin - 1, LAST_NUMBER)
    number_query = select(func.coalesce(func.max(events.c.number), 0))
    return Position(0, (await connection.execute(number_query)).scalar_one())


def is_after(position: Position) -> ColumnElement[bool]:
    """Build the condition that an event comes after a position."""
    return _place() > _at(position)


def is_up_to(position: Position) -> ColumnElement[bool]:
    """Build the condition that an event comes at a position or before it."""
    return _place() <= _at(position)


def _place() -> ColumnElement[Any]:
    return tuple_(events.c.transaction_id, events.c.number)


def _at(position: Position) -> ColumnElement[Any]:
    return tuple_(
        literal(position.transaction_id, BigInteger), literal(position.number, BigInteger)
    )


class EventFilters(TypedDict, total=False):
    """Which events to read: those that match all; `types` and `profile_ids` are alternatives."""

    types: Sequence[str]
    profile_ids: Sequence[str] | None
    message_id: str | None
    created_after: datetime | None


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of a tenant's events, and the position to continue after."""

    items: list[Event]
    end: Position


async def page(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    limit: int,
    start: Position,
    **filters: Unpack[EventFilters],
) -> EventPage:
    """Return up to `limit` of the tenant's events after `start`, in order."""
    end = await horizon(connection)
    if start.transaction_id > end.transaction_id:  # read in another cluster: see migrate
        start = Position(0, start.number)
    first = start
    if (created_after := filters.get("created_after")) is not None:
        first = max(start, await _find_start(connection, tenant_id, created_after))
    query = _QUERY.where(is_after(first), is_up_to(end), *_build_conditions(tenant_id, filters))
    query = query.order_by(events.c.transaction_id, events.c.number).limit(limit)
    items = await _load_events(connection, query)
    if len(items) == limit:
        return EventPage(items, items[-1].position)
    return EventPage(items, max(start, end))


async def page_newest_first(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    limit: int,
    before: Position | None,
    **filters: Unpack[EventFilters],
) -> list[Event]:
    """Return up to `limit` of the tenant's events before a position, newest first."""
    end = await horizon(connection)
    is_of_page = is_up_to(end) if before is None or before > end else _place() < _at(before)
    query = _QUERY.where(is_of_page, *_build_conditions(tenant_id, filters))
    if (created_after := filters.get("created_after")) is not None:
        query = query.where(is_after(await _find_start(connection, tenant_id, created_after)))
    query = query.order_by(events.c.transaction_id.desc(), events.c.number.desc()).limit(limit)
    return await _load_events(connection, query)


def _build_conditions(tenant_id: str, filters: EventFilters) -> Iterator[ColumnElement[bool]]:
    if types := filters.get("types"):
        yield events.c.type.in_(types)
    if (profile_ids := filters.get("profile_ids")) is not None:
        yield events.c.profile_id.in_(profile_ids)
    if (message_id := filters.get("message_id")) is None:
        yield events.c.tenant_id == tenant_id
    else:
        yield events.c.message_id == message_id
        yield is_of_tenant(events.c.tenant_id, tenant_id)
    if (created_after := filters.get("created_after")) is not None:
        yield events.c.created_at > created_after


async def _find_start(
    connection: AsyncConnection, tenant_id: str, created_after: datetime
) -> Position:
    """Return a position before all events of a time, which spares reading older ones.

    Transactions do not end in the order of ids, so the earliest event of a time need not be the
    first. Events from a restored dump are in no order of time: see `migrate`.
    """
    if connection.dialect.name == "postgresql" and await _has_restored(connection, tenant_id):
        return FIRST_POSITION
    query = (
        select(events.c.transaction_id, events.c.number)
        .where(events.c.id < earliest_id("evt", created_after))
        .order_by(events.c.id.desc())
        .limit(1)
    )
    row = (await connection.execute(query)).one_or_none()
    return FIRST_POSITION if row is None else Position(row.transaction_id, row.number)


async def _has_restored(connection: AsyncConnection, tenant_id: str) -> bool:
    """Whether the tenant has events from a restored dump, which have no transaction here."""
    query = select(events.c.number).where(
        events.c.tenant_id == tenant_id, events.c.transaction_id == 0
    )
    return (await connection.execute(query.limit(1))).one_or_none() is not None


async def find(connection: AsyncConnection, *, tenant_id: str, event_id: str) -> Event | None:
    """Return an event of the tenant, or None."""
    query = _QUERY.where(events.c.tenant_id == tenant_id, events.c.id == event_id)
    return next(iter(await _load_events(connection, query)), None)


_QUERY: Final[Select[Any]] = (
    select(
        events,
        profiles.c.name.label("profile_name"),
        message_contents.c.message_id_header,
        message_contents.c.metadata.label("message_metadata"),
        messages.c.source,
        message_contents.c.key_id,
        message_contents.c.request_id,
        message_contents.c.traceparent,
        recipients.c.address,
        recipients.c.name.label("recipient_name"),
        recipients.c.kind,
        recipients.c.status.label("recipient_status"),
    )
    .join(profiles, profiles.c.id == events.c.profile_id, isouter=True)
    .join(messages, messages.c.id == events.c.message_id, isouter=True)
    .join(message_contents, message_contents.c.message_id == events.c.message_id, isouter=True)
    .join(
        recipients,
        (recipients.c.message_id == events.c.message_id)
        & (recipients.c.position == events.c.position),
        isouter=True,
    )
)


async def _load_events(connection: AsyncConnection, query: Select[Any]) -> list[Event]:
    rows = (await connection.execute(query)).mappings().all()
    tags = await load_tags(connection, {row["message_id"] for row in rows if row["message_id"]})
    return [_event(row, tags.get(row["message_id"], ())) for row in rows]


async def load_tags(
    connection: AsyncConnection, message_ids: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """Load the tags of messages, by message id; messages without tags are left out."""
    query = (
        select(message_tags.c.message_id, message_tags.c.tag)
        .where(message_tags.c.message_id.in_(list(message_ids)))
        .order_by(message_tags.c.message_id)
    )
    tags = await group_rows(connection, query, "message_id", itemgetter("tag"))
    # Not in SQL: collations differ, and the index is not in this order.
    return {message_id: tuple(sorted(group)) for message_id, group in tags.items()}


def _event(row: RowMapping, tags: tuple[str, ...]) -> Event:
    message = recipient = None
    if row["message_id_header"] is not None:
        message = from_row(
            EventMessage,
            row,
            id=row["message_id"],
            tags=tags,
            metadata=row["message_metadata"],
            source=row["source"] and MessageSource(row["source"]),
        )
    if row["address"] is not None:
        recipient = EventRecipient(
            named_address=NamedAddress(row["address"], row["recipient_name"]),
            kind=RecipientKind(row["kind"]),
            status=RecipientStatus(row["recipient_status"]),
        )
    return from_row(
        Event,
        row,
        position=Position(row["transaction_id"], row["number"]),
        type=EventType(row["type"]),
        message=message,
        recipient=recipient,
        data=row["data"] or {},
    )


async def delete_old(
    connection: AsyncConnection, *, tenant_id: str, before: datetime, limit: int
) -> int:
    """Delete up to `limit` old events of a tenant, and old errors of webhooks; return how many.

    Looks only at the first ones in order, so it needs no index on the time.
    """
    query = (
        select(events.c.number, events.c.created_at)
        .where(events.c.tenant_id == tenant_id)
        .order_by(events.c.transaction_id, events.c.number)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = (await connection.execute(query)).all()
    numbers = [row.number for row in rows if row.created_at < before]
    if numbers:
        await connection.execute(delete(events).where(events.c.number.in_(numbers)))
    await connection.execute(
        update(webhooks)
        .where(webhooks.c.tenant_id == tenant_id, webhooks.c.last_error_at < before)
        .values(last_error=None, last_error_at=None)
    )
    return len(numbers)
