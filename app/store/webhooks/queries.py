"""Store webhooks."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, func, select
from sqlalchemy import delete as delete_from
from sqlalchemy import insert as insert_into
from sqlalchemy import update as update_rows
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import Conflict, NotFound
from app.domain.events import EventFilter, Position
from app.domain.webhooks import Webhook
from app.store.db.keyset import newest_first
from app.store.db.rows import from_row, to_row
from app.store.db.uniqueness import taken_means
from app.store.tables.events import webhooks


async def insert(
    connection: AsyncConnection, *, webhook: Webhook, sealed_secret: bytes, start: Position
) -> None:
    """Write a new one, for events after a place; raises Conflict where its name is taken."""
    values = {
        **to_row(webhook, webhooks),
        **columns_of(webhook),
        "sealed_secret": sealed_secret,
        "read_transaction_id": start.transaction_id,
        "read_number": start.number,
    }
    async with taken_means(connection, _exists(webhook.name)):
        await connection.execute(insert_into(webhooks).values(values))


def columns_of(webhook: Webhook) -> dict[str, Any]:
    """What a person sets of it."""
    return {
        "name": webhook.name,
        "url": webhook.url,
        "event_types": list(webhook.wanted.types),
        "profiles": list(webhook.wanted.profiles),
        "tags": list(webhook.wanted.tags),
        "is_ordered": webhook.is_ordered,
        "disabled_at": webhook.disabled_at,
        "disabled_reason": webhook.disabled_reason,
        "failing_since": webhook.failing_since,
        "next_probe_at": None,  # who has changed it wants to see whether that helped
    }


def secret_columns(sealed: bytes) -> dict[str, Any]:
    """The columns of a secret that replaces all others at once."""
    return {"sealed_secret": sealed, "sealed_former_secret": None, "former_secret_until": None}


def _exists(name: str) -> Conflict:
    return Conflict("webhook-exists", f"A webhook {name!r} exists already; choose another name.")


async def count(connection: AsyncConnection, *, tenant_id: str) -> int:
    """How many the tenant has."""
    query = select(func.count()).where(webhooks.c.tenant_id == tenant_id)
    return int((await connection.execute(query)).scalar_one())


async def page(
    connection: AsyncConnection, *, tenant_id: str, limit: int, after: str | None = None
) -> list[Webhook]:
    """A page of the tenant's, newest first."""
    query = select(webhooks).where(webhooks.c.tenant_id == tenant_id)
    query = newest_first(query, webhooks.c.id, limit=limit, after=after)
    return [webhook_of(row) for row in (await connection.execute(query)).mappings()]


async def get(
    connection: AsyncConnection, *, tenant_id: str, webhook_id: str, to_change: bool = False
) -> Webhook:
    """One of the tenant's, locked where it is to be changed; raises NotFound."""
    query = select(webhooks).where(webhooks.c.tenant_id == tenant_id, webhooks.c.id == webhook_id)
    if to_change:
        query = query.with_for_update()
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise NotFound("webhook", webhook_id)
    return webhook_of(row)


async def update(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    webhook_id: str,
    changes: Mapping[str, Any],
    now: datetime,
) -> None:
    """Write columns; raises Conflict where the new name is taken."""
    async with taken_means(connection, _exists(str(changes.get("name")))):
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
    """Sign with a new secret from now on, and until a moment with the present one too."""
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
    """Take one away with all that waits for it, and answer which that was; raises NotFound."""
    webhook = await get(connection, tenant_id=tenant_id, webhook_id=webhook_id, to_change=True)
    await connection.execute(delete_from(webhooks).where(webhooks.c.id == webhook_id))
    return webhook


def webhook_of(row: RowMapping) -> Webhook:
    """The webhook of a row."""
    wanted = EventFilter(
        types=tuple(row["event_types"]), profiles=tuple(row["profiles"]), tags=tuple(row["tags"])
    )
    return from_row(Webhook, row, wanted=wanted)
