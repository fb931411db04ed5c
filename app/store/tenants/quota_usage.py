"""Count quota usage in the transaction of acceptance."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import first_id
from app.domain.tenants.quotas import Exceeded, Quota, Usage, admit, day_start, month_start
from app.store.db.rows import from_row, to_row
from app.store.tables.core import UNFINISHED, message_contents, messages, tenant_usage, tenants


async def charge(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    quota: Quota,
    units: Sequence[Sequence[int]],
    now: datetime,
) -> list[Exceeded | None]:
    """Count messages of these sizes in bytes, as far as the quota allows.

    Counts all messages of a unit or none. Returns for each unit the exceeded limit, or None. Locks
    the tenant's usage until the transaction ends.
    """
    usage = await load_usage(connection, tenant_id=tenant_id, now=now, is_locked=True)
    queued_count = await count_queued(connection, tenant_id=tenant_id, quota=quota)
    new_usage, verdicts = admit(quota, usage, queued=queued_count, units=units, now=now)
    if new_usage != usage:  # over its limit a tenant causes no writes
        await connection.execute(
            update(tenant_usage)
            .where(tenant_usage.c.tenant_id == tenant_id)
            .values(_row(new_usage))
        )
    return verdicts


async def count_queued(connection: AsyncConnection, *, tenant_id: str, quota: Quota) -> int:
    """Count the tenant's unfinished messages, up to the quota's limit."""
    if quota.queued_messages is None:
        return 0
    subquery = (
        select(messages.c.id)
        .where(messages.c.tenant_id == tenant_id, UNFINISHED)
        .limit(quota.queued_messages)
        .subquery()
    )
    return int((await connection.execute(select(func.count()).select_from(subquery))).scalar_one())


async def load_usage(
    connection: AsyncConnection, *, tenant_id: str, now: datetime, is_locked: bool = False
) -> Usage:
    """Return the tenant's usage; compute it if it is not counted yet.

    With `is_locked`, stores it and locks it until the transaction ends.
    """
    if is_locked:
        await connection.execute(
            select(tenants.c.id).where(tenants.c.id == tenant_id).with_for_update(key_share=True)
        )
    query = select(tenant_usage).where(tenant_usage.c.tenant_id == tenant_id)
    if is_locked:  # wiping updates it without the tenant's lock
        query = query.with_for_update()
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is not None:
        return from_row(Usage, row, day=row["day"].date()).at(now)
    usage = await _count_usage(connection, tenant_id, now)
    if is_locked:
        await connection.execute(insert(tenant_usage).values(tenant_id=tenant_id, **_row(usage)))
    return usage


async def reset(connection: AsyncConnection, *, tenant_id: str) -> None:
    """Delete the count; the next use computes it."""
    await connection.execute(delete(tenant_usage).where(tenant_usage.c.tenant_id == tenant_id))


async def _count_usage(connection: AsyncConnection, tenant_id: str, now: datetime) -> Usage:
    of_tenant = messages.c.tenant_id == tenant_id
    stored_query = select(func.coalesce(func.sum(message_contents.c.size_bytes), 0)).where(
        of_tenant,
        messages.c.id == message_contents.c.message_id,
        message_contents.c.wiped_at.is_(None),
    )
    counts = [
        (
            await connection.execute(
                select(func.count()).where(of_tenant, messages.c.id >= first_id("msg", since))
            )
        ).scalar_one()
        for since in (day_start(now), month_start(now))
    ]
    return Usage(
        day=now.astimezone(UTC).date(),
        day_messages=counts[0],
        month_messages=counts[1],
        stored_bytes=int((await connection.execute(stored_query)).scalar_one()),
    )


def _row(usage: Usage) -> dict[str, object]:
    day = datetime(usage.day.year, usage.day.month, usage.day.day, tzinfo=UTC)
    return to_row(usage, tenant_usage) | {"day": day}
