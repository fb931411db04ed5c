"""Load what may hold up the messages of profiles."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import RowMapping, Select, bindparam, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery.waiting import DestinationPermit, LaneFacts
from app.store.db.array_params import any_of
from app.store.db.column_types import Instant
from app.store.delivery.destinations import load_permits
from app.store.delivery.lanes import find_permit_time, limit_columns
from app.store.delivery.workers import is_alive
from app.store.profiles.queries import HEALTH_COLUMNS, build_health
from app.store.tables.core import lanes, profiles, tenant_buckets, tenants, workers


async def load_lane_facts(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    profile_ids: Collection[str],
    now: datetime,
    alive_since: datetime,
) -> dict[str, LaneFacts]:
    """Load the facts about a tenant's profiles by profile id.

    Costs one statement, and another if a profile has destinations. Workers without a heartbeat
    since `alive_since` are gone.
    """
    if not profile_ids:
        return {}
    parameters = {
        "tenant_id": tenant_id,
        "profile_ids": sorted(profile_ids),
        "alive_since": alive_since,
    }
    rows = (await connection.execute(_FACTS, parameters)).mappings().all()
    permits = await load_permits(
        connection,
        tenant_id=tenant_id,
        profile_ids=[row["profile_id"] for row in rows if row["has_destinations"]],
        now=now,
    )
    return {
        row["profile_id"]: _build_facts(row, permits.get(row["profile_id"], {}), now)
        for row in rows
    }


def _build_facts(
    row: RowMapping, permits: Mapping[int, DestinationPermit], now: datetime
) -> LaneFacts:
    health, fallback_at = build_health(row), None
    if health.failing_since is not None and row["fallback_profile_id"] is not None:
        fallback_at = health.failing_since + timedelta(seconds=row["fallback_after_seconds"])
    return LaneFacts(
        health=health,
        has_worker=row["has_worker"],
        paused_at=row["paused_at"],
        fallback_at=fallback_at,
        profile_permit_at=find_permit_time(row, "profile_", now),
        tenant_permit_at=find_permit_time(row, "tenant_", now),
        destination_permits=permits,
    )


_FACTS: Final[Select[Any]] = (
    select(
        lanes.c.profile_id,
        *HEALTH_COLUMNS,
        lanes.c.has_destinations,
        profiles.c.paused_at,
        profiles.c.fallback_profile_id,
        profiles.c.fallback_after_seconds,
        exists(
            select(workers.c.id).where(is_alive(since=bindparam("alive_since", type_=Instant)))
        ).label("has_worker"),
        *limit_columns(profiles, lanes, "profile_"),
        *limit_columns(tenants, tenant_buckets, "tenant_"),
    )
    .join(lanes, lanes.c.profile_id == profiles.c.id)
    .join(tenants, tenants.c.id == profiles.c.tenant_id)
    .join(tenant_buckets, tenant_buckets.c.tenant_id == tenants.c.id, isouter=True)
    .where(any_of(profiles.c.id, "profile_ids"), profiles.c.tenant_id == bindparam("tenant_id"))
)
