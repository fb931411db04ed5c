"""Read what waits, for metrics: messages, profiles, workers, events for webhooks."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    FromClause,
    and_,
    case,
    func,
    literal,
    select,
    text,
    tuple_,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.types import MessageStatus, ProfileState
from app.domain.webhooks import DeliveryStatus
from app.store.delivery.workers import build_count
from app.store.tables.core import UNFINISHED, lanes, messages, profiles, tenants
from app.store.tables.events import events, webhook_deliveries, webhooks


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many messages have a status, and since when the oldest could be sent.

    `tenant_id` and `profile_id` are empty for the sum over all.
    """

    status: MessageStatus
    tenant_id: str
    profile_id: str
    count: int
    oldest_at: datetime


async def load_queue_depths(
    connection: AsyncConnection, *, now: datetime, by_profile: bool
) -> list[QueueDepth]:
    """Count the unfinished messages of all tenants by status; the deepest come first."""
    status = build_status(messages, now)
    groups: tuple[ColumnElement[str], ...] = (
        (messages.c.tenant_id, messages.c.profile_id) if by_profile else ()
    )
    shown = groups or (literal(""), literal(""))
    count = func.count()
    query = (
        select(
            status,
            *shown,
            count,
            func.min(func.coalesce(messages.c.send_at, messages.c.created_at)),
        )
        .where(UNFINISHED)
        .group_by(status, *groups)
        .order_by(count.desc())
    )
    rows = await connection.execute(query)
    return [QueueDepth(MessageStatus(name), *rest) for name, *rest in rows]


def build_status(rows: FromClause, now: datetime) -> ColumnElement[str]:
    """Build the status of messages, where one that waits for its time is scheduled."""
    is_scheduled = and_(rows.c.status == MessageStatus.QUEUED.value, rows.c.send_at > now)
    return case((is_scheduled, MessageStatus.SCHEDULED.value), else_=rows.c.status)


@dataclass(frozen=True, slots=True)
class ProfileCount:
    """How many profiles have a state; with ids, it is that one profile."""

    state: ProfileState
    tenant_id: str
    profile_id: str
    count: int


async def count_profile_states(
    connection: AsyncConnection, *, by_profile: bool
) -> list[ProfileCount]:
    """Count the profiles of all tenants by state; those that are not active come first."""
    state = case(
        (profiles.c.paused_at.is_not(None), ProfileState.PAUSED.value),
        (lanes.c.failing_since.is_not(None), ProfileState.FAILING.value),
        (lanes.c.stalled_since.is_not(None), ProfileState.STALLED.value),
        else_=ProfileState.ACTIVE.value,
    )
    groups: tuple[ColumnElement[str], ...] = (
        (profiles.c.tenant_id, profiles.c.id) if by_profile else ()
    )
    query = (
        select(state, *(groups or (literal(""), literal(""))), func.count())
        .join(lanes, lanes.c.profile_id == profiles.c.id)
        .where(profiles.c.deleted_at.is_(None))
        .group_by(state, *groups)
        .order_by(state == ProfileState.ACTIVE.value)
    )
    rows = await connection.execute(query)
    return [ProfileCount(ProfileState(name), *rest) for name, *rest in rows]


async def load_names(connection: AsyncConnection, ids: Collection[str]) -> dict[str, str]:
    """Load the names of tenants and profiles by id."""
    query = union_all(
        select(tenants.c.id, tenants.c.slug.label("name")).where(tenants.c.id.in_(ids)),
        select(profiles.c.id, profiles.c.name).where(profiles.c.id.in_(ids)),
    )
    rows = await connection.execute(query)
    return {row.id: row.name for row in rows}


async def count_workers(connection: AsyncConnection, *, since: datetime) -> int:
    """Count the workers that sent a heartbeat since a moment."""
    return (await connection.execute(build_count(since=since))).scalar_one()


@dataclass(frozen=True, slots=True)
class WebhookBacklog:
    """How many deliveries wait, and since when the oldest event waits."""

    count: int
    oldest_at: datetime | None


async def load_webhook_backlog(connection: AsyncConnection) -> WebhookBacklog:
    """Count what enabled webhooks have not received; costs a probe of an index per webhook."""
    is_enabled = webhooks.c.disabled_at.is_(None)
    pending = (
        select(func.count(), func.min(webhook_deliveries.c.created_at))
        .join(webhooks, webhooks.c.id == webhook_deliveries.c.webhook_id)
        .where(text(f"status = '{DeliveryStatus.PENDING.value}'"), is_enabled)
    )
    count, enqueued_at = (await connection.execute(pending)).one()
    first_unread = (
        select(events.c.created_at)
        .where(
            events.c.tenant_id == webhooks.c.tenant_id,
            tuple_(events.c.transaction_id, events.c.number)
            > tuple_(webhooks.c.read_transaction_id, webhooks.c.read_number),
        )
        .order_by(events.c.transaction_id, events.c.number)
        .limit(1)
        .scalar_subquery()
    )
    unread = select(func.min(first_unread)).select_from(webhooks).where(is_enabled)
    unread_at = (await connection.execute(unread)).scalar_one()
    moments = [moment for moment in (enqueued_at, unread_at) if moment is not None]
    return WebhookBacklog(count, min(moments, default=None))
