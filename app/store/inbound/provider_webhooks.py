"""Store provider webhooks, and find them by their tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, and_, func, or_, select
from sqlalchemy import delete as delete_from
from sqlalchemy import insert as insert_into
from sqlalchemy import update as update_rows
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.inbound.provider import Provider, ProviderWebhook
from app.store.db.keyset import newest_first
from app.store.db.rows import from_row, get_row, to_row
from app.store.db.uniqueness import unique_name
from app.store.tables.inbound import provider_webhooks


@dataclass(frozen=True, slots=True)
class AddressedWebhook:
    """The provider webhook that a token names, and its secret."""

    webhook: ProviderWebhook
    sealed_secret: bytes | None = field(repr=False)

    @property
    def tenant_id(self) -> str:
        return self.webhook.tenant_id


async def insert(
    connection: AsyncConnection,
    *,
    webhook: ProviderWebhook,
    token_hash: bytes,
    sealed_secret: bytes | None,
) -> None:
    """Insert a provider webhook; raise Conflict if its name exists."""
    values = to_row(webhook, provider_webhooks) | {
        "token_hash": token_hash,
        "sealed_secret": sealed_secret,
    }
    async with unique_name(connection, "provider webhook", webhook.name):
        await connection.execute(insert_into(provider_webhooks).values(values))


def build_columns(webhook: ProviderWebhook) -> dict[str, Any]:
    """Build the columns of the settings, without the secret."""
    return {
        "name": webhook.name,
        "provider": webhook.provider.value,
        "public_key": webhook.public_key,
        "topic_arn": webhook.topic_arn,
        "networks": list(webhook.networks),
    }


async def count(connection: AsyncConnection, *, tenant_id: str) -> int:
    """Count the tenant's provider webhooks."""
    query = select(func.count()).where(provider_webhooks.c.tenant_id == tenant_id)
    return int((await connection.execute(query)).scalar_one())


async def page(
    connection: AsyncConnection, *, tenant_id: str, limit: int, after: str | None = None
) -> list[ProviderWebhook]:
    """Return a page of the tenant's provider webhooks, newest first."""
    query = select(provider_webhooks).where(provider_webhooks.c.tenant_id == tenant_id)
    query = newest_first(query, provider_webhooks.c.id, limit=limit, after=after)
    return [_build_webhook(row) for row in (await connection.execute(query)).mappings()]


async def get(
    connection: AsyncConnection, *, tenant_id: str, webhook_id: str, for_update: bool = False
) -> ProviderWebhook:
    """Return a provider webhook, locked with `for_update`; raise NotFound."""
    query = select(provider_webhooks).where(
        provider_webhooks.c.tenant_id == tenant_id, provider_webhooks.c.id == webhook_id
    )
    row = await get_row(connection, query, "provider-webhook", webhook_id, for_update=for_update)
    return _build_webhook(row)


async def find_by_token(
    connection: AsyncConnection, *, token_hash: bytes, provider: Provider, now: datetime
) -> AddressedWebhook | None:
    """Find the provider webhook with this token, or with it as the former one."""
    columns = provider_webhooks.c
    is_former = and_(columns.former_token_hash == token_hash, columns.former_token_until > now)
    query = select(provider_webhooks).where(
        or_(columns.token_hash == token_hash, is_former), columns.provider == provider.value
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else AddressedWebhook(_build_webhook(row), row["sealed_secret"])


async def update(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    webhook_id: str,
    changes: Mapping[str, Any],
    now: datetime,
) -> None:
    """Change columns; raise Conflict if the new name exists."""
    async with unique_name(connection, "provider webhook", changes.get("name")):
        await connection.execute(
            update_rows(provider_webhooks)
            .where(provider_webhooks.c.tenant_id == tenant_id, provider_webhooks.c.id == webhook_id)
            .values(**changes, updated_at=now)
        )


async def rotate(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    webhook_id: str,
    token_hash: bytes,
    former_until: datetime,
    now: datetime,
) -> None:
    """Replace the token; the current one works until `former_until`."""
    await connection.execute(
        update_rows(provider_webhooks)
        .where(provider_webhooks.c.tenant_id == tenant_id, provider_webhooks.c.id == webhook_id)
        .values(
            former_token_hash=provider_webhooks.c.token_hash,
            former_token_until=former_until,
            token_hash=token_hash,
            updated_at=now,
        )
    )


async def record_post(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    webhook_id: str,
    counts: Mapping[str, int],
    now: datetime,
) -> None:
    """Record that the provider posted, and add to the counts."""
    values = {name: provider_webhooks.c[name] + number for name, number in counts.items()}
    await connection.execute(
        update_rows(provider_webhooks)
        .where(provider_webhooks.c.tenant_id == tenant_id, provider_webhooks.c.id == webhook_id)
        .values(received_at=now, **values)
    )


async def delete(
    connection: AsyncConnection, *, tenant_id: str, webhook_id: str
) -> ProviderWebhook:
    """Delete a provider webhook and return it; raise NotFound."""
    webhook = await get(connection, tenant_id=tenant_id, webhook_id=webhook_id, for_update=True)
    await connection.execute(
        delete_from(provider_webhooks).where(provider_webhooks.c.id == webhook_id)
    )
    return webhook


def _build_webhook(row: RowMapping) -> ProviderWebhook:
    return from_row(
        ProviderWebhook,
        row,
        provider=Provider(row["provider"]),
        has_secret=row["sealed_secret"] is not None,
        networks=tuple(row["networks"]),
    )
