"""Turn events into deliveries to webhooks: new ones as they come, or old ones again."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Insert, Row, exists, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.events import EventFilter, EventType, Position, ordering_key
from app.domain.ids import first_id, new_id
from app.domain.resend_events import RESEND_TYPES
from app.domain.webhooks import DeliveryStatus, Webhook, WebhookFormat
from app.store import events as event_log
from app.store.db.bulk import Bulk, Write
from app.store.db.uniqueness import build_inserts
from app.store.tables.core import is_of_tenant
from app.store.tables.events import events, webhook_deliveries, webhooks
from app.store.webhooks.queries import IS_PENDING, build_webhook

ENQUEUE_BATCH: Final = 500
# With so many due deliveries a webhook gets no new ones: events it does not accept wait in the
# event log, which costs nothing.
MAX_DUE: Final = 100

_Row = Row[*tuple[Any, ...]]
_INSERT_NEW: Final = Bulk(Write.insert(webhook_deliveries, is_repeatable=True))


def _replace_existing(insert: postgresql.Insert | sqlite.Insert) -> Insert:
    return insert.on_conflict_do_update(
        index_elements=["webhook_id", "event_number"],
        set_={
            "status": DeliveryStatus.PENDING.value,
            "attempts": 0,
            "lease_owner": None,
            "finished_at": None,
            "due_at": insert.excluded.due_at,
            "created_at": insert.excluded.created_at,
        },
    )


_REPLAY: Final = build_inserts(webhook_deliveries, _replace_existing)
_HAS_WEBHOOKS: Final = select(exists().where(webhooks.c.disabled_at.is_(None)))


async def has_webhooks(connection: AsyncConnection) -> bool:
    """Whether any webhook is enabled."""
    return bool((await connection.execute(_HAS_WEBHOOKS)).scalar_one())


class WebhookBacklog(NamedTuple):
    """A webhook with events that were not enqueued yet."""

    tenant_id: str
    webhook_id: str


async def find_backlogs(connection: AsyncConnection, *, now: datetime) -> list[WebhookBacklog]:
    """Return webhooks with new events, except those with enough due deliveries."""
    end = await event_log.horizon(connection)
    has_news = exists().where(
        events.c.tenant_id == webhooks.c.tenant_id,
        tuple_(events.c.transaction_id, events.c.number)
        > tuple_(webhooks.c.read_transaction_id, webhooks.c.read_number),
        event_log.is_up_to(end),
    )
    has_enough_due = (
        select(webhook_deliveries.c.due_at)
        .where(
            webhook_deliveries.c.webhook_id == webhooks.c.id,
            IS_PENDING,
            webhook_deliveries.c.due_at <= now,
        )
        .order_by(webhook_deliveries.c.due_at)
        .limit(1)
        .offset(MAX_DUE - 1)
        .exists()
    )
    query = select(webhooks.c.tenant_id, webhooks.c.id).where(
        webhooks.c.disabled_at.is_(None), has_news, ~has_enough_due
    )
    return [WebhookBacklog(*row) for row in await connection.execute(query)]


async def enqueue_deliveries(
    connection: AsyncConnection, *, webhook_id: str, now: datetime
) -> bool:
    """Enqueue the next matching events for a webhook; return whether there are more.

    Skips a webhook that another worker has locked.
    """
    query = (
        select(webhooks)
        .where(webhooks.c.id == webhook_id, webhooks.c.disabled_at.is_(None))
        .with_for_update(skip_locked=True)
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return False
    webhook = build_webhook(row)
    end = await event_log.horizon(connection)
    start = Position(row["read_transaction_id"], row["read_number"])
    rows = await _load_events(
        connection,
        events.c.tenant_id == webhook.tenant_id,
        event_log.is_after(start),
        event_log.is_up_to(end),
        order=(events.c.transaction_id, events.c.number),
        limit=ENQUEUE_BATCH,
    )
    is_all = len(rows) < ENQUEUE_BATCH
    if not is_all:
        end = Position(rows[-1].transaction_id, rows[-1].number)
    matching = await _select_matching(connection, rows, webhook.event_filter, webhook.format)
    await _INSERT_NEW.execute(connection, _build_rows(webhook, matching, now))
    await connection.execute(
        update(webhooks)
        .where(webhooks.c.id == webhook_id)
        .values(read_transaction_id=end.transaction_id, read_number=end.number)
    )
    return not is_all


async def _load_events(
    connection: AsyncConnection,
    *conditions: ColumnElement[bool],
    order: Sequence[ColumnElement[Any]],
    limit: int,
) -> Sequence[_Row]:
    """Load the columns of events that filters need."""
    query = (
        select(
            events.c.number,
            events.c.transaction_id,
            events.c.id,
            events.c.type,
            events.c.profile_id,
            events.c.message_id,
            events.c.data,
        )
        .where(*conditions)
        .order_by(*order)
        .limit(limit)
    )
    return (await connection.execute(query)).all()


async def _select_matching(
    connection: AsyncConnection,
    rows: Sequence[_Row],
    event_filter: EventFilter,
    webhook_format: WebhookFormat,
) -> list[_Row]:
    """Return the events that match a filter and that the webhook's format has a name for."""
    if webhook_format is WebhookFormat.RESEND:
        rows = [row for row in rows if row.type in RESEND_TYPES]
    tags = dict[str, tuple[str, ...]]()
    if event_filter.tags:
        message_ids = {row.message_id for row in rows if row.message_id is not None}
        tags = await event_log.load_tags(connection, message_ids)
    matching_rows = [
        row
        for row in rows
        if event_filter.matches(row.type, row.profile_id, tags.get(row.message_id, ()))
    ]
    if not event_filter.first_deferral_only:
        return matching_rows
    repeated = await _find_repeated_deferrals(connection, matching_rows)
    return [row for row in matching_rows if row.number not in repeated]


async def _find_repeated_deferrals(
    connection: AsyncConnection, rows: Sequence[_Row]
) -> frozenset[int]:
    """Return the numbers of deferrals whose recipient has an earlier one in the event log.

    The log alone decides, so all workers and all replays decide the same. A recipient's events are
    numbered in their order: the next attempt begins after the commit of the last one.
    """
    deferrals = [row.number for row in rows if row.type == EventType.RECIPIENT_DEFERRED]
    if not deferrals:
        return frozenset()
    earlier_events = events.alias("earlier")
    has_earlier = exists().where(
        earlier_events.c.message_id == events.c.message_id,
        is_of_tenant(earlier_events.c.tenant_id, events.c.tenant_id),
        earlier_events.c.position == events.c.position,
        earlier_events.c.type == events.c.type,
        # A sum has no index: on a new database that of the numbers would seem as good.
        earlier_events.c.number + 0 < events.c.number,
    )
    query = select(events.c.number).where(events.c.number.in_(deferrals), has_earlier)
    return frozenset((await connection.execute(query)).scalars())


def _build_rows(webhook: Webhook, rows: Iterable[_Row], now: datetime) -> list[dict[str, Any]]:
    return [
        {
            "id": new_id("whd"),
            "tenant_id": webhook.tenant_id,
            "webhook_id": webhook.id,
            "event_number": row.number,
            "event_id": row.id,
            "event_type": row.type,
            "ordering_key": ordering_key(row.id, row.message_id, row.profile_id, row.data),
            "status": DeliveryStatus.PENDING.value,
            "attempts": 0,
            "due_at": now,
            "created_at": now,
        }
        for row in rows
    ]


async def replay(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    webhook: Webhook,
    now: datetime,
    limit: int,
    event_ids: Sequence[str] | None = None,
    after: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    status: DeliveryStatus | None = None,
) -> tuple[int, str | None]:
    """Deliver up to `limit` events again, as new.

    Selects these `event_ids`, whatever the filter; or matching events of a period, or with a status
    of their delivery. Returns how many, and the id to continue after, if there are more.
    """
    conditions: list[ColumnElement[bool]] = [events.c.tenant_id == tenant_id]
    if event_ids is not None:
        conditions.append(events.c.id.in_(event_ids))
    if after is not None:
        conditions.append(events.c.id > after)
    if created_after is not None:
        conditions.append(events.c.id >= first_id("evt", created_after))
    if created_before is not None:
        conditions.append(events.c.id < first_id("evt", created_before))
    if status is not None:
        has_status = exists().where(
            webhook_deliveries.c.webhook_id == webhook.id,
            webhook_deliveries.c.event_number == events.c.number,
            webhook_deliveries.c.status == status.value,
        )
        conditions.append(has_status)
    rows = await _load_events(connection, *conditions, order=(events.c.id,), limit=limit)
    event_filter = EventFilter() if event_ids is not None else webhook.event_filter
    selected_rows = await _select_matching(connection, rows, event_filter, webhook.format)
    if selected_rows:
        statement = _REPLAY[connection.dialect.name]
        await connection.execute(statement, _build_rows(webhook, selected_rows, now))
    return len(selected_rows), rows[-1].id if len(rows) == limit else None
