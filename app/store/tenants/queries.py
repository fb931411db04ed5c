"""Store tenants."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, exists, or_, select
from sqlalchemy import delete as delete_from
from sqlalchemy import insert as insert_into
from sqlalchemy import update as update_rows
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import Conflict, NotFound
from app.domain.tenants.notify import Notify
from app.domain.tenants.quotas import Quota
from app.domain.tenants.retention import Retention
from app.domain.types import Tenant
from app.store.db import similar_names as spelling
from app.store.db.column_types import EPOCH
from app.store.db.keyset import oldest_first
from app.store.db.rows import from_row, get_row, to_row
from app.store.db.uniqueness import conflict_on_duplicate
from app.store.tables.core import lanes, messages, profiles, purges, tenants
from app.store.tables.events import events
from app.store.tables.rate_columns import build_rate_columns, build_rate_limit
from app.store.tables.submissions import submissions


async def insert(connection: AsyncConnection, *, tenant: Tenant) -> None:
    """Insert a tenant; raise Conflict if its slug exists."""
    values = {
        **to_row(tenant, tenants),
        **build_rate_columns(tenant.rate_limit),
        "quota": tenant.quota.as_dict(),
        "retention": tenant.retention.as_dict(),
    }
    async with conflict_on_duplicate(connection, _build_conflict(tenant.slug)):
        await connection.execute(insert_into(tenants).values(values))
    await connection.execute(insert_into(purges).values(tenant_id=tenant.id, purged_at=EPOCH))


def _build_conflict(slug: str) -> Conflict:
    return Conflict("tenant-exists", f"A tenant {slug!r} exists already; choose another slug.")


async def get(connection: AsyncConnection, *, tenant: str) -> Tenant:
    """Return the tenant with this id or slug; raise NotFound."""
    query = select(tenants).where(or_(tenants.c.id == tenant, tenants.c.slug == tenant))
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        hint = await spelling.suggest_name(connection, tenants.c.slug, tenant)
        raise NotFound("tenant", tenant, hint=hint)
    return build_tenant(row)


def build_tenant(row: RowMapping) -> Tenant:
    """Build a tenant from a row."""
    return from_row(
        Tenant,
        row,
        rate_limit=build_rate_limit(row),
        quota=Quota(**row["quota"]),
        allowed_from=tuple(row["allowed_from"]),
        retention=Retention(**row["retention"]),
        allowed_recipient_domains=tuple(row["allowed_recipient_domains"]),
        notify=Notify.parse(row["notify"]),
    )


async def page(connection: AsyncConnection, *, limit: int, after: str | None) -> list[Tenant]:
    """Return a page of all tenants, oldest first."""
    query = oldest_first(select(tenants), tenants.c.id, limit=limit, after=after)
    return [build_tenant(row) for row in (await connection.execute(query)).mappings()]


async def lock(connection: AsyncConnection, *, tenant_id: str) -> Tenant:
    """Lock and return the tenant until the transaction ends; raise NotFound.

    Code that adds, removes or changes the default of its profiles takes this lock first: one order
    of locks, so no deadlock. It does not block accepting messages.
    """
    query = select(tenants).where(tenants.c.id == tenant_id).with_for_update(key_share=True)
    return build_tenant(await get_row(connection, query, "tenant", tenant_id))


async def update(
    connection: AsyncConnection, *, tenant_id: str, changes: Mapping[str, Any], now: datetime
) -> Tenant:
    """Change columns; raise NotFound, or Conflict if the slug exists.

    A change of EHLO name, rate limit or routing counts as a change of every profile: it retires
    their connections, and probes failing servers at once.
    """
    before = await lock(connection, tenant_id=tenant_id)
    if not changes:
        return before
    async with conflict_on_duplicate(connection, _build_conflict(str(changes.get("slug")))):
        await connection.execute(
            update_rows(tenants).where(tenants.c.id == tenant_id).values(**changes, updated_at=now)
        )
    after = await get(connection, tenant=tenant_id)
    if _delivery_settings(after) != _delivery_settings(before):
        await _renew_profiles(connection, tenant_id, now)
    return after


def _delivery_settings(tenant: Tenant) -> tuple[object, ...]:
    return tenant.ehlo_name, tenant.rate_limit, tenant.recipient_rule


async def _renew_profiles(connection: AsyncConnection, tenant_id: str, now: datetime) -> None:
    live = (profiles.c.tenant_id == tenant_id, profiles.c.deleted_at.is_(None))
    await connection.execute(
        update_rows(profiles).where(*live).values(revision=profiles.c.revision + 1)
    )
    await connection.execute(
        update_rows(lanes)
        .where(
            lanes.c.profile_id.in_(select(profiles.c.id).where(*live)),
            lanes.c.failing_since.is_not(None),
        )
        .values(next_probe_at=now)
    )


async def delete(connection: AsyncConnection, *, tenant_id: str) -> None:
    """Delete a tenant with its keys and its history; raise NotFound.

    Raises Conflict while it has profiles or unfinished messages.
    """
    query = select(tenants.c.slug).where(tenants.c.id == tenant_id).with_for_update()
    slug = (await connection.execute(query)).scalar_one_or_none()
    if slug is None:
        raise NotFound("tenant", tenant_id)
    has_profiles = exists().where(
        profiles.c.tenant_id == tenant_id, profiles.c.deleted_at.is_(None)
    )
    is_used = select(or_(has_profiles, _has_unfinished(tenant_id)))
    if (await connection.execute(is_used)).scalar_one():
        raise Conflict(
            "tenant-not-empty",
            f"The tenant {slug!r} has profiles or unfinished messages; delete its profiles first.",
        )
    for table, column in (
        (events, events.c.tenant_id),
        (submissions, submissions.c.tenant_id),
        (messages, messages.c.tenant_id),
        (profiles, profiles.c.tenant_id),
        (tenants, tenants.c.id),
    ):
        await connection.execute(delete_from(table).where(column == tenant_id))


def _has_unfinished(tenant_id: str) -> ColumnElement[bool]:
    """Build the condition by profile: the index over due messages begins with it."""
    return exists().where(
        profiles.c.tenant_id == tenant_id,
        messages.c.profile_id == profiles.c.id,
        messages.c.due_at.is_not(None),
    )
