"""Store webhook deliveries, and claim them by one worker at a time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Insert,
    Row,
    exists,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy import insert as insert_into
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.events import EventFilter, EventType, NewEvent, Position, ordering_key
from app.domain.ids import first_id, new_id
from app.domain.resend_events import RESEND_TYPES
from app.domain.webhooks import (
    DISABLED_AFTER,
    DeliveryStatus,
    Webhook,
    WebhookFormat,
    WebhookResponse,
    compute_probe_wait,
)
from app.store import events as event_rows
from app.store.db.keyset import newest_first
from app.store.db.rows import from_row
from app.store.tables.core import is_of_tenant
from app.store.tables.events import events, webhook_attempts, webhook_deliveries, webhooks
from app.store.webhooks.queries import IS_PENDING, build_webhook

_Row = Row[*tuple[Any, ...]]
PENDING: Final = DeliveryStatus.PENDING.value
ENQUEUE_BATCH: Final = 500
# With so many due deliveries a webhook gets no new ones: events it does not accept wait in the
# event log, which costs nothing.
MAX_DUE: Final = 100

_REPLAYED_VALUES: Final = {
    "status": PENDING,
    "attempts": 0,
    "lease_owner": None,
    "finished_at": None,
}


_UNIQUE_COLUMNS: Final = ("webhook_id", "event_number")


def _insert_new(statement: postgresql.Insert | sqlite.Insert) -> Insert:
    return statement.on_conflict_do_nothing(index_elements=_UNIQUE_COLUMNS)


def _insert_or_replay(statement: postgresql.Insert | sqlite.Insert) -> Insert:
    values = _REPLAYED_VALUES | {
        "due_at": statement.excluded.due_at,
        "created_at": statement.excluded.created_at,
    }
    return statement.on_conflict_do_update(index_elements=_UNIQUE_COLUMNS, set_=values)


_NEW: Final[Mapping[str, Insert]] = {
    "postgresql": _insert_new(postgresql.insert(webhook_deliveries)),
    "sqlite": _insert_new(sqlite.insert(webhook_deliveries)),
}
_REPLAY: Final[Mapping[str, Insert]] = {
    "postgresql": _insert_or_replay(postgresql.insert(webhook_deliveries)),
    "sqlite": _insert_or_replay(sqlite.insert(webhook_deliveries)),
}


@dataclass(frozen=True, slots=True)
class DueWebhook:
    """A webhook with due deliveries, and since when."""

    webhook: Webhook
    due_at: datetime
    sealed_secrets: tuple[bytes, ...] = field(repr=False)


_HAS_WEBHOOKS: Final = select(exists().where(webhooks.c.disabled_at.is_(None)))


async def has_webhooks(connection: AsyncConnection) -> bool:
    """Whether any webhook is enabled."""
    return bool((await connection.execute(_HAS_WEBHOOKS)).scalar_one())


@dataclass(frozen=True, slots=True)
class WebhookBacklog:
    """A webhook with events that were not enqueued yet."""

    tenant_id: str
    webhook_id: str


async def find_backlogs(connection: AsyncConnection, *, now: datetime) -> list[WebhookBacklog]:
    """Return webhooks with new events, except those with enough due deliveries."""
    end = await event_rows.horizon(connection)
    has_news = exists().where(
        events.c.tenant_id == webhooks.c.tenant_id,
        tuple_(events.c.transaction_id, events.c.number)
        > tuple_(webhooks.c.read_transaction_id, webhooks.c.read_number),
        event_rows.is_up_to(end),
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
    end = await event_rows.horizon(connection)
    start = Position(row["read_transaction_id"], row["read_number"])
    rows = await _load_events(
        connection,
        events.c.tenant_id == webhook.tenant_id,
        event_rows.is_after(start),
        event_rows.is_up_to(end),
        order=(events.c.transaction_id, events.c.number),
        limit=ENQUEUE_BATCH,
    )
    is_all = len(rows) < ENQUEUE_BATCH
    if not is_all:
        end = Position(rows[-1].transaction_id, rows[-1].number)
    await _write(
        connection,
        _NEW,
        webhook,
        await _select_matching(connection, rows, webhook.event_filter, webhook.format),
        now,
    )
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
        tags = await event_rows.load_tags(connection, message_ids)
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


async def _write(
    connection: AsyncConnection,
    how: Mapping[str, Insert],
    webhook: Webhook,
    rows: Iterable[_Row],
    now: datetime,
) -> None:
    values = [
        {
            "id": new_id("whd"),
            "tenant_id": webhook.tenant_id,
            "webhook_id": webhook.id,
            "event_number": row.number,
            "event_id": row.id,
            "event_type": row.type,
            "ordering_key": ordering_key(row.id, row.message_id, row.profile_id, row.data),
            "status": PENDING,
            "attempts": 0,
            "due_at": now,
            "created_at": now,
        }
        for row in rows
    ]
    if values:
        await connection.execute(how[connection.dialect.name], values)


async def load_due(connection: AsyncConnection, *, now: datetime) -> list[DueWebhook]:
    """Load the webhooks with due deliveries.

    Costs one index probe per webhook, independent of its backlog.
    """
    due_at = (
        select(func.min(webhook_deliveries.c.due_at))
        .where(webhook_deliveries.c.webhook_id == webhooks.c.id, IS_PENDING)
        .scalar_subquery()
    )
    query = select(webhooks, due_at.label("due_at")).where(_may_be_tried(now), due_at <= now)
    due_webhooks = list[DueWebhook]()
    for row in (await connection.execute(query)).mappings():
        former_secret, until = row["sealed_former_secret"], row["former_secret_until"]
        secrets = [row["sealed_secret"]]
        if former_secret is not None and until > now:
            secrets.append(former_secret)
        due_webhooks.append(DueWebhook(build_webhook(row), row["due_at"], tuple(secrets)))
    return due_webhooks


def _may_be_tried(now: datetime) -> ColumnElement[bool]:
    return webhooks.c.disabled_at.is_(None) & or_(
        webhooks.c.failing_since.is_(None),
        webhooks.c.next_probe_at.is_(None),
        webhooks.c.next_probe_at <= now,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """A delivery that only its claimer makes, until the lease ends.

    `is_probe`: the webhook is failing, and gets nothing else meanwhile.
    """

    id: str
    tenant_id: str
    event_id: str
    attempts: int
    is_probe: bool


async def claim(
    connection: AsyncConnection,
    *,
    webhook: Webhook,
    owner: str,
    limit: int,
    now: datetime,
    lease_until: datetime,
) -> list[ClaimedDelivery]:
    """Lease up to `limit` due deliveries of a webhook, the earliest first.

    A failing webhook gets a single one, the probe, and none while another worker has it.
    """
    query = (
        select(webhooks.c.failing_since)
        .where(webhooks.c.id == webhook.id, _may_be_tried(now))
        .with_for_update(skip_locked=True, key_share=True)
    )
    health = (await connection.execute(query)).one_or_none()
    if health is None:
        return []
    if health.failing_since is None:
        return await _lease(connection, webhook, owner, limit, now, lease_until)
    leased = await _lease(connection, webhook, owner, 1, now, lease_until, is_probe=True)
    if leased:
        await connection.execute(
            update(webhooks).where(webhooks.c.id == webhook.id).values(next_probe_at=lease_until)
        )
    return leased


async def _lease(
    connection: AsyncConnection,
    webhook: Webhook,
    owner: str,
    limit: int,
    now: datetime,
    lease_until: datetime,
    *,
    is_probe: bool = False,
) -> list[ClaimedDelivery]:
    table = webhook_deliveries
    query = (
        select(table.c.id, table.c.tenant_id, table.c.event_id, table.c.attempts)
        .where(table.c.webhook_id == webhook.id, IS_PENDING, table.c.due_at <= now)
        .order_by(table.c.due_at, table.c.event_number)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    if webhook.is_ordered:
        earlier_deliveries = webhook_deliveries.alias("earlier")
        has_earlier = exists().where(
            earlier_deliveries.c.webhook_id == table.c.webhook_id,
            earlier_deliveries.c.ordering_key == table.c.ordering_key,
            earlier_deliveries.c.status == literal_column(f"'{PENDING}'"),
            earlier_deliveries.c.event_number < table.c.event_number,
        )
        query = query.where(~has_earlier)
    rows = (await connection.execute(query)).mappings().all()
    ids = [row["id"] for row in rows]
    if ids:
        await connection.execute(
            update(table).where(table.c.id.in_(ids)).values(lease_owner=owner, due_at=lease_until)
        )
    return [from_row(ClaimedDelivery, row, is_probe=is_probe) for row in rows]


async def release(
    connection: AsyncConnection, *, owner: str, ids: Sequence[str], now: datetime
) -> None:
    """Return deliveries to the queue, due at once."""
    await connection.execute(
        update(webhook_deliveries)
        .where(webhook_deliveries.c.id.in_(ids), webhook_deliveries.c.lease_owner == owner)
        .values(lease_owner=None, due_at=now)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryResult:
    """The result of a delivery; `retry_at` is None if it ends."""

    delivery: ClaimedDelivery
    response: WebhookResponse
    started_at: datetime
    duration_ms: float
    retry_at: datetime | None


async def settle(
    connection: AsyncConnection,
    *,
    webhook: Webhook,
    owner: str,
    result: DeliveryResult,
    now: datetime,
) -> bool:
    """Store a result, unless another worker took over; return whether it was stored.

    Disables a webhook that has failed for long or answers 410, and appends an event.
    """
    table = webhook_deliveries
    status = DeliveryStatus.DELIVERED if result.response.is_accepted else DeliveryStatus.FAILED
    if result.retry_at is not None:
        status = DeliveryStatus.PENDING
    update_result = await connection.execute(
        update(table)
        .where(table.c.id == result.delivery.id, table.c.lease_owner == owner)
        .values(
            status=status.value,
            attempts=result.delivery.attempts + 1,
            due_at=result.retry_at,
            lease_owner=None,
            finished_at=None if status is DeliveryStatus.PENDING else now,
        )
    )
    if not update_result.rowcount:
        return False
    await connection.execute(
        insert_into(webhook_attempts).values(
            id=new_id("wha"),
            delivery_id=result.delivery.id,
            started_at=result.started_at,
            duration_ms=result.duration_ms,
            status_code=result.response.status_code,
            response=result.response.body,
            error=result.response.error,
        )
    )
    await _record_health(connection, webhook, result, now)
    return True


async def _record_health(
    connection: AsyncConnection, webhook: Webhook, result: DeliveryResult, now: datetime
) -> None:
    of_webhook, answer = webhooks.c.id == webhook.id, result.response
    if answer.is_accepted:
        await connection.execute(
            update(webhooks)
            .where(of_webhook, webhooks.c.failing_since.is_not(None))
            .values(failing_since=None, next_probe_at=None, failed_probes=0)
        )
        return
    query = (
        select(webhooks.c.failing_since, webhooks.c.failed_probes, webhooks.c.disabled_at)
        .where(of_webhook)
        .with_for_update()
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None or row.disabled_at is not None:
        return
    since = row.failing_since or now
    values: dict[str, Any] = {
        "failing_since": since,
        "last_error": answer.reason,
        "last_error_at": now,
    }
    if row.failing_since is None or result.delivery.is_probe:  # ignore deliveries that began before
        failed_probes = 0 if row.failing_since is None else row.failed_probes + 1
        values |= {
            "failed_probes": failed_probes,
            "next_probe_at": now + compute_probe_wait(failed_probes),
        }
    if answer.is_gone or now - since >= DISABLED_AFTER:
        reason = (
            answer.reason if answer.is_gone else f"failing since {since:%F %T}: {answer.reason}"
        )
        values |= {"disabled_at": now, "disabled_reason": reason}
        data = {"webhook": webhook.id, "reason": reason}
        event = NewEvent(
            EventType.WEBHOOK_DISABLED, now, webhook.tenant_id, profile_id=None, data=data
        )
        await event_rows.append(connection, [event])
    await connection.execute(update(webhooks).where(of_webhook).values(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAttempt:
    """One attempt of a delivery, and the response."""

    started_at: datetime
    duration_ms: float
    status_code: int | None
    response: str | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery with its current status; `log` has every attempt, oldest first."""

    id: str
    webhook_id: str
    event_id: str
    event_type: str
    status: DeliveryStatus
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    finished_at: datetime | None
    log: tuple[DeliveryAttempt, ...]


async def page(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    limit: int,
    after: str | None = None,
    webhook_id: str | None = None,
    message_id: str | None = None,
    statuses: Sequence[DeliveryStatus] = (),
    event_id: str | None = None,
) -> list[Delivery]:
    """Return a page of deliveries, newest first: those of a webhook, of a message, or of both."""
    table = webhook_deliveries
    query = select(table).where(table.c.tenant_id == tenant_id)
    query = newest_first(query, table.c.id, limit=limit, after=after)
    if webhook_id is not None:
        query = query.where(table.c.webhook_id == webhook_id)
    if message_id is not None:
        query = query.join(events, events.c.number == table.c.event_number).where(
            events.c.message_id == message_id, is_of_tenant(events.c.tenant_id, tenant_id)
        )
    if statuses:
        query = query.where(table.c.status.in_([status.value for status in statuses]))
    if event_id is not None:
        query = query.where(table.c.event_id == event_id)
    rows = (await connection.execute(query)).mappings().all()
    logs = await _load_logs(connection, [row["id"] for row in rows])
    return [
        from_row(
            Delivery,
            row,
            status=DeliveryStatus(row["status"]),
            next_attempt_at=row["due_at"],
            log=logs.get(row["id"], ()),
        )
        for row in rows
    ]


async def _load_logs(
    connection: AsyncConnection, ids: Sequence[str]
) -> dict[str, tuple[DeliveryAttempt, ...]]:
    log = webhook_attempts
    query = select(log).where(log.c.delivery_id.in_(ids)).order_by(log.c.delivery_id, log.c.id)
    rows = (await connection.execute(query)).mappings().all()
    return {
        delivery_id: tuple(from_row(DeliveryAttempt, row) for row in group)
        for delivery_id, group in groupby(rows, key=lambda row: str(row["delivery_id"]))
    }


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
    await _write(connection, _REPLAY, webhook, selected_rows, now)
    return len(selected_rows), rows[-1].id if len(rows) == limit else None
