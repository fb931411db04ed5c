"""Store webhook deliveries, and claim them by one worker at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import ColumnElement, exists, func, literal_column, or_, select, update
from sqlalchemy import insert as insert_into
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.events import EventType, NewEvent
from app.domain.ids import new_id
from app.domain.webhooks import (
    DISABLED_AFTER,
    DeliveryStatus,
    Webhook,
    WebhookResponse,
    compute_probe_wait,
)
from app.store import events as event_rows
from app.store.db.keyset import newest_first
from app.store.db.rows import from_row, group_rows
from app.store.tables.core import is_of_tenant
from app.store.tables.events import events, webhook_attempts, webhook_deliveries, webhooks
from app.store.webhooks.queries import IS_PENDING, build_webhook

PENDING: Final = DeliveryStatus.PENDING.value


@dataclass(frozen=True, slots=True)
class DueWebhook:
    """A webhook with due deliveries, and since when."""

    webhook: Webhook
    due_at: datetime
    sealed_secrets: tuple[bytes, ...] = field(repr=False)


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
    return await group_rows(connection, query, "delivery_id", partial(from_row, DeliveryAttempt))
