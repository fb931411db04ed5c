"""Store webhooks."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, func, literal_column, select
from sqlalchemy import delete as delete_from
from sqlalchemy import insert as insert_into
from sqlalchemy import update as update_rows
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.events import EventFilter, Position
from app.domain.webhooks import DeliveryStatus, Webhook, WebhookFormat
from app.store.db.keyset import newest_first
from app.store.db.rows import from_row, get_row, to_row
from app.store.db.uniqueness import unique_name
from app.store.tables.events import webhook_deliveries, webhooks

# A literal: the plan for a parameter could not use the partial indexes.
IS_PENDING: Final = webhook_deliveries.c.status == literal_column(f"'{DeliveryStatus.PENDING}'")
# Of the next event, not of the oldest: a probe of the index of what is due, however much waits.
_WAITING_SINCE: Final = (
    select(webhook_deliveries.c.created_at)
    .where(webhook_deliveries.c.webhook_id == webhooks.c.id, IS_PENDING)
    .order_by(webhook_deliveries.c.due_at, webhook_deliveries.c.event_number)
    .limit(1)
    .scalar_subquery()
    .label("waiting_since")
)


async def insert(
    connection: AsyncConnection, *, webhook: Webhook, sealed_secret: bytes, start: Position
) -> None:
    """Insert a webhook for events after `start`; raise Conflict if its name exists."""
    values = {
        **to_row(webhook, webhooks),
        **build_columns(webhook),
        "sealed_secret": sealed_secret,
        "read_transaction_id": start.transaction_id,
        "read_number": start.number,
    }
    async with unique_name(connection, "webhook", webhook.name):
        await connection.execute(insert_into(webhooks).values(values))


def build_columns(webhook: Webhook) -> dict[str, Any]:
    """Build the columns of a webhook's settings."""
    return {
        "name": webhook.name,
        "url": webhook.url,
        "event_types": list(webhook.event_filter.types),
        "profiles": list(webhook.event_filter.profiles),
        "tags": list(webhook.event_filter.tags),
        "first_deferral_only": webhook.event_filter.first_deferral_only,
        "is_ordered": webhook.is_ordered,
        "format": webhook.format.value,
        "disabled_at": webhook.disabled_at,
        "disabled_reason": webhook.disabled_reason,
        "failing_since": webhook.failing_since,
        "last_error": webhook.last_error,
        "last_error_at": webhook.last_error_at,
        "next_probe_at": None,  # probe at once after a change
    }


def build_secret_columns(sealed: bytes) -> dict[str, Any]:
    """Build the columns of a secret that replaces all others at once."""
    return {"sealed_secret": sealed, "sealed_former_secret": None, "former_secret_until": None}


async def count(connection: AsyncConnection, *, tenant_id: str) -> int:
    """Count the tenant's webhooks."""
    query = select(func.count()).where(webhooks.c.tenant_id == tenant_id)
    return int((await connection.execute(query)).scalar_one())


async def page(
    connection: AsyncConnection, *, tenant_id: str, limit: int, after: str | None = None
) -> list[Webhook]:
    """Return a page of the tenant's webhooks, newest first."""
    query = select(webhooks, _WAITING_SINCE).where(webhooks.c.tenant_id == tenant_id)
    query = newest_first(query, webhooks.c.id, limit=limit, after=after)
    return [build_webhook(row) for row in (await connection.execute(query)).mappings()]


async def get(
    connection: AsyncConnection, *, tenant_id: str, webhook_id: str, for_update: bool = False
) -> Webhook:
    """Return a webhook; raise NotFound.

    With `for_update`, it is locked, and comes without `waiting_since`.
    """
    query = select(webhooks) if for_update else select(webhooks, _WAITING_SINCE)
    query = query.where(webhooks.c.tenant_id == tenant_id, webhooks.c.id == webhook_id)
    row = await get_row(connection, query, "webhook", webhook_id, for_update=for_update)
    return build_webhook(row)


async def update(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    webhook_id: str,
    changes: Mapping[str, Any],
    now: datetime,
) -> None:
    """Change columns; raise Conflict if the new name exists."""
    async with unique_name(connection, "webhook", changes.get("name")):
        await connection.execute(
            update_rows(webhooks)
            .where(webhooks.c.tenant_id == tenant_id, webhooks.c.id == webhook_id)
            .values(**changes, updated_at=now)
        )


async def rotate(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    webhook_id: str,
    sealed_secret: bytes,
    former_until: datetime,
    now: datetime,
) -> None:
    """Sign with a new secret, and until `former_until` with the current one too."""
    await connection.execute(
        update_rows(webhooks)
        .where(webhooks.c.tenant_id == tenant_id, webhooks.c.id == webhook_id)
        .values(
            sealed_former_secret=webhooks.c.sealed_secret,
            former_secret_until=former_until,
            sealed_secret=sealed_secret,
            updated_at=now,
        )
    )


async def delete(connection: AsyncConnection, *, tenant_id: str, webhook_id: str) -> Webhook:
    """Delete a webhook with its deliveries and return it; raise NotFound."""
    webhook = await get(connection, tenant_id=tenant_id, webhook_id=webhook_id, for_update=True)
    await connection.execute(delete_from(webhooks).where(webhooks.c.id == webhook_id))
    return webhook


def build_webhook(row: RowMapping) -> Webhook:
    """Build a webhook from a row."""
    event_filter = EventFilter(
        types=tuple(row["event_types"]),
        profiles=tuple(row["profiles"]),
        tags=tuple(row["tags"]),
        first_deferral_only=row["first_deferral_only"],
    )
    webhook_format = WebhookFormat(row["format"])
    return from_row(
        Webhook,
        row,
        event_filter=event_filter,
        format=webhook_format,
        waiting_since=row.get("waiting_since"),
    )
