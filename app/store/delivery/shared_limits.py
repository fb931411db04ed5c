"""Grant send and connection permits across all replicas (invariant 7).

A worker takes permits for a whole claim, so that messages cost no extra round trips.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Table, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery.token_bucket import Bucket, count_permits, refill
from app.domain.types import RateLimit
from app.store.db.array_params import any_of
from app.store.db.bulk import Bulk, Write
from app.store.tables.core import (
    connection_permits,
    lanes,
    tenant_buckets,
    tenants,
    verify_buckets,
    workers,
)


async def lock_profile_bucket(
    connection: AsyncConnection, *, profile_id: str, limit: RateLimit, now: datetime
) -> Bucket:
    """Return the profile's current permits, locked until the transaction ends."""
    return await _lock_bucket(connection, lanes, lanes.c.profile_id == profile_id, limit, now)


async def lock_tenant_bucket(
    connection: AsyncConnection, *, tenant_id: str, limit: RateLimit, now: datetime
) -> Bucket:
    """Return the tenant's current permits, locked until the transaction ends."""
    return await _lock_bucket_of_tenant(connection, tenant_buckets, tenant_id, limit, now)


async def take_verify_permit(
    connection: AsyncConnection, *, tenant_id: str, limit: RateLimit, now: datetime
) -> Bucket:
    """Take a permit to verify a server; return the bucket before.

    Takes nothing if there is no whole permit.
    """
    bucket = await _lock_bucket_of_tenant(connection, verify_buckets, tenant_id, limit, now)
    if count_permits(bucket):
        of_tenant = verify_buckets.c.tenant_id == tenant_id
        await _spend(connection, verify_buckets, of_tenant, bucket, permits=1)
    return bucket


async def _lock_bucket_of_tenant(
    connection: AsyncConnection, table: Table, tenant_id: str, limit: RateLimit, now: datetime
) -> Bucket:
    await connection.execute(
        select(tenants.c.id).where(tenants.c.id == tenant_id).with_for_update(key_share=True)
    )
    of_tenant = table.c.tenant_id == tenant_id
    if (await connection.execute(select(table).where(of_tenant))).one_or_none() is None:
        values = {"tenant_id": tenant_id, "tokens": float(limit.capacity), "tokens_at": now}
        await connection.execute(insert(table).values(values))
    return await _lock_bucket(connection, table, of_tenant, limit, now)


async def _lock_bucket(
    connection: AsyncConnection,
    table: Table,
    condition: ColumnElement[bool],
    limit: RateLimit,
    now: datetime,
) -> Bucket:
    query = select(table.c.tokens, table.c.tokens_at).where(condition).with_for_update()
    row = (await connection.execute(query)).one()
    bucket = None if row.tokens is None else Bucket(row.tokens, row.tokens_at)
    return refill(bucket, limit, now)


async def spend_profile(
    connection: AsyncConnection, *, profile_id: str, bucket: Bucket, permits: int
) -> None:
    """Store the profile's bucket less the spent permits."""
    await _spend(connection, lanes, lanes.c.profile_id == profile_id, bucket, permits)


async def spend_tenant(
    connection: AsyncConnection, *, tenant_id: str, bucket: Bucket, permits: int
) -> None:
    """Store the tenant's bucket less the spent permits."""
    of_tenant = tenant_buckets.c.tenant_id == tenant_id
    await _spend(connection, tenant_buckets, of_tenant, bucket, permits)


async def _spend(
    connection: AsyncConnection,
    table: Table,
    condition: ColumnElement[bool],
    bucket: Bucket,
    permits: int,
) -> None:
    values = {"tokens": bucket.tokens - permits, "tokens_at": bucket.at}
    await connection.execute(update(table).where(condition).values(values))


async def lease_connections(
    connection: AsyncConnection,
    *,
    max_connections: Mapping[tuple[str, int], int],
    worker_id: str,
    now: datetime,
    until: datetime,
) -> dict[tuple[str, int], int]:
    """Lease this worker's share of connections until a moment, by profile and destination.

    The destination 0 stands for all connections of the profile. Live workers share equally, as far
    as the others' leases allow; a worker with more returns the rest at its next call.
    """
    ids = {"profile_ids": list({profile_id: None for profile_id, _ in max_connections})}
    await connection.execute(_LOCK_LANES, ids)
    rows = (await connection.execute(_TAKEN, ids)).all()
    worker_count = max(1, (await connection.execute(_ALIVE)).scalar_one())
    other_permits = Counter[tuple[str, int]]()
    for row in rows:
        if row.worker_id != worker_id and row.expires_at > now:
            other_permits[row.profile_id, row.destination] += row.permits
    granted_permits = {
        place: max(0, min(-(-connections // worker_count), connections - other_permits[place]))
        for place, connections in max_connections.items()
    }
    existing = {(row.profile_id, row.destination) for row in rows if row.worker_id == worker_id}
    permit_rows = {
        place: {
            "profile_id": place[0],
            "destination": place[1],
            "worker_id": worker_id,
            "permits": permits,
            "expires_at": until,
        }
        for place, permits in granted_permits.items()
    }
    await _UPDATE.execute(
        connection, [row for place, row in permit_rows.items() if place in existing]
    )
    await _INSERT.execute(
        connection, [row for place, row in permit_rows.items() if place not in existing]
    )
    return granted_permits


# Locked in one order, so that two workers cannot deadlock.
_LOCK_LANES: Final = (
    select(lanes.c.profile_id)
    .where(any_of(lanes.c.profile_id, "profile_ids"))
    .order_by(lanes.c.profile_id)
    .with_for_update()
)
_TAKEN: Final = select(connection_permits).where(
    any_of(connection_permits.c.profile_id, "profile_ids")
)
_ALIVE: Final = select(func.count()).select_from(workers)
_INSERT: Final = Bulk(Write.insert(connection_permits))
_UPDATE: Final = Bulk(
    Write.update(
        connection_permits,
        keys=["profile_id", "destination", "worker_id"],
        values=["permits", "expires_at"],
    )
)


async def renew_connections(
    connection: AsyncConnection, *, worker_id: str, until: datetime
) -> None:
    """Extend all connection permits of a worker."""
    await connection.execute(
        update(connection_permits)
        .where(connection_permits.c.worker_id == worker_id)
        .values(expires_at=until)
    )


async def return_connections(
    connection: AsyncConnection, *, worker_id: str, profile_id: str | None = None
) -> None:
    """Return a worker's permits, for one profile or for all."""
    conditions = [connection_permits.c.worker_id == worker_id]
    if profile_id is not None:
        conditions.append(connection_permits.c.profile_id == profile_id)
    await connection.execute(delete(connection_permits).where(*conditions))
