"""Permits that all replicas share: to send, by rate; to connect, by number (invariant 7).

They are taken in slices, a claim's worth at a time: no message costs a round trip of its own.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Integer,
    Table,
    bindparam,
    cast,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.limits import Bucket, permits, refill
from app.domain.types import RateLimit
from app.store.tables import (
    connection_permits,
    lanes,
    tenant_buckets,
    tenants,
    verify_buckets,
    workers,
)


async def profile_bucket(
    connection: AsyncConnection, *, profile_id: str, limit: RateLimit, now: datetime
) -> Bucket:
    """The profile's permits as they stand now, locked until the transaction ends."""
    return await _bucket(connection, lanes, lanes.c.profile_id == profile_id, limit, now)


async def tenant_bucket(
    connection: AsyncConnection, *, tenant_id: str, limit: RateLimit, now: datetime
) -> Bucket:
    """The tenant's permits as they stand now, locked until the transaction ends."""
    return await _tenants_bucket(connection, tenant_buckets, tenant_id, limit, now)


async def take_verify(
    connection: AsyncConnection, *, tenant_id: str, limit: RateLimit, now: datetime
) -> Bucket:
    """Take one of the tenant's permits to have a server tried; answers what there was before.

    None is taken where there is no whole one.
    """
    bucket = await _tenants_bucket(connection, verify_buckets, tenant_id, limit, now)
    if permits(bucket):
        await connection.execute(
            update(verify_buckets)
            .where(verify_buckets.c.tenant_id == tenant_id)
            .values(tokens=bucket.tokens - 1, tokens_at=bucket.at)
        )
    return bucket


async def _tenants_bucket(
    connection: AsyncConnection, table: Table, tenant_id: str, limit: RateLimit, now: datetime
) -> Bucket:
    await connection.execute(
        select(tenants.c.id).where(tenants.c.id == tenant_id).with_for_update(key_share=True)
    )
    mine = table.c.tenant_id == tenant_id
    if (await connection.execute(select(table).where(mine))).one_or_none() is None:
        full = {"tenant_id": tenant_id, "tokens": float(limit.capacity), "tokens_at": now}
        await connection.execute(insert(table).values(full))
    return await _bucket(connection, table, mine, limit, now)


async def _bucket(
    connection: AsyncConnection,
    table: Table,
    mine: ColumnElement[bool],
    limit: RateLimit,
    now: datetime,
) -> Bucket:
    query = select(table.c.tokens, table.c.tokens_at).where(mine).with_for_update()
    row = (await connection.execute(query)).one()
    before = None if row.tokens is None else Bucket(row.tokens, row.tokens_at)
    return refill(before, limit, now)


async def spend_profile(
    connection: AsyncConnection, *, profile_id: str, bucket: Bucket, permits: int
) -> None:
    """Write the profile's bucket back, less what was spent."""
    await connection.execute(
        update(lanes)
        .where(lanes.c.profile_id == profile_id)
        .values(tokens=bucket.tokens - permits, tokens_at=bucket.at)
    )


async def spend_tenant(
    connection: AsyncConnection, *, tenant_id: str, bucket: Bucket, permits: int
) -> None:
    """Write the tenant's bucket back, less what was spent."""
    await connection.execute(
        update(tenant_buckets)
        .where(tenant_buckets.c.tenant_id == tenant_id)
        .values(tokens=bucket.tokens - permits, tokens_at=bucket.at)
    )


async def lease_connections(
    connection: AsyncConnection,
    *,
    profile_id: str,
    worker_id: str,
    most: int,
    now: datetime,
    until: datetime,
) -> int:
    """Take this worker's share of a profile's `most` connections, until a moment.

    The share is an even one among the workers that live, as far as the others leave it free: a
    worker with more gives back what it can as soon as it asks again. Answers how many it may have.
    """
    mine = {"profile": profile_id, "worker": worker_id}
    await connection.execute(_LOCK_LANE, {"profile": profile_id})
    others, alive = (await connection.execute(_SHARED, {**mine, "now": now})).one()
    granted: int = max(0, min(-(-most // max(1, alive)), most - others))
    values = {"permits": granted, "expires_at": until}
    written = await connection.execute(_LENGTHEN, {**mine, **values})
    if written.rowcount == 0:
        row = {"profile_id": profile_id, "worker_id": worker_id, **values}
        await connection.execute(insert(connection_permits).values(row))
    return granted


_LOCK_LANE: Final = (
    select(lanes.c.profile_id).where(lanes.c.profile_id == bindparam("profile")).with_for_update()
)
_SHARED: Final = select(
    select(cast(func.coalesce(func.sum(connection_permits.c.permits), 0), Integer))
    .where(
        connection_permits.c.profile_id == bindparam("profile"),
        connection_permits.c.worker_id != bindparam("worker"),
        connection_permits.c.expires_at > bindparam("now"),
    )
    .scalar_subquery(),
    select(func.count()).select_from(workers).scalar_subquery(),
)
_LENGTHEN: Final = (
    update(connection_permits)
    .where(
        connection_permits.c.profile_id == bindparam("profile"),
        connection_permits.c.worker_id == bindparam("worker"),
    )
    .values(permits=bindparam("permits"), expires_at=bindparam("expires_at"))
)


async def renew_connections(
    connection: AsyncConnection, *, worker_id: str, until: datetime
) -> None:
    """Keep every connection permit of a worker until a later moment."""
    await connection.execute(
        update(connection_permits)
        .where(connection_permits.c.worker_id == worker_id)
        .values(expires_at=until)
    )


async def return_connections(
    connection: AsyncConnection, *, worker_id: str, profile_id: str | None = None
) -> None:
    """Give back a worker's permits, for one profile or for all."""
    which = [connection_permits.c.worker_id == worker_id]
    if profile_id is not None:
        which.append(connection_permits.c.profile_id == profile_id)
    await connection.execute(delete(connection_permits).where(*which))
