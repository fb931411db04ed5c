"""Share the limits of destinations over all replicas, and find when their messages may leave."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery.destination_limit import DestinationLimit, list_limits
from app.domain.delivery.destinations import NO_DESTINATION
from app.domain.delivery.waiting import DestinationPermit
from app.domain.types import Profile
from app.store.db.array_params import any_of
from app.store.db.bulk import Bulk, Write
from app.store.profiles.destinations import with_buckets
from app.store.profiles.rows import build_destinations, build_ramp
from app.store.tables.core import destination_buckets, messages, profiles


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingQueue:
    """A queue with messages: when its first is due, and when its limits let one go.

    The queue 0 holds the messages of no single destination.
    """

    number: int
    message_due_at: datetime
    due_at: datetime


async def load_waiting(
    connection: AsyncConnection, *, profile_ids: Sequence[str], now: datetime
) -> dict[str, list[WaitingQueue]]:
    """Load the queues with messages of these profiles, by profile id.

    Costs an index probe for each destination, whatever waits there.
    """
    if not profile_ids:
        return {}
    rows = (await connection.execute(_WAITING, {"profile_ids": profile_ids})).all()
    by_profile = defaultdict[str, list[Row[Any]]](list)
    for row in rows:
        by_profile[row.profile_id].append(row)
    return {
        profile_id: _build_queues(queue_rows, now) for profile_id, queue_rows in by_profile.items()
    }


_WAITING: Final = (
    select(
        destination_buckets,
        profiles.c.ramp,
        profiles.c.destinations,
        select(func.min(messages.c.due_at))
        .where(
            messages.c.profile_id == destination_buckets.c.profile_id,
            messages.c.destination == destination_buckets.c.number,
            messages.c.due_at.is_not(None),
        )
        .scalar_subquery()
        .label("soonest"),
    )
    .join(profiles, profiles.c.id == destination_buckets.c.profile_id)
    .where(any_of(destination_buckets.c.profile_id, "profile_ids"))
)


def _build_queues(rows: Sequence[Row[Any]], now: datetime) -> list[WaitingQueue]:
    limits = list_limits(build_ramp(rows[0].ramp), build_destinations(rows[0].destinations))
    permits_at = {
        row.number: with_buckets(limits[row.number], row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
        .refill(now)
        .next_permit_at(now)
        for row in rows
        if row.number in limits
    }
    whole = permits_at.get(NO_DESTINATION, now)
    return [
        WaitingQueue(
            number=row.number,
            message_due_at=row.soonest,
            due_at=max(row.soonest, whole, permits_at[row.number]),
        )
        for row in rows
        if row.soonest is not None and row.number in permits_at
    ]


async def lock_limits(
    connection: AsyncConnection, profile: Profile, *, now: datetime
) -> dict[int, DestinationLimit] | None:
    """Return what is left of a profile's limits, locked until the transaction ends.

    None if the profile has changed: its destinations may have other numbers by now.
    """
    query = (
        select(destination_buckets)
        .where(destination_buckets.c.profile_id == profile.id)
        .order_by(destination_buckets.c.number)
        .with_for_update()
    )
    rows = {row["number"]: row for row in (await connection.execute(query)).mappings()}
    revision = select(profiles.c.revision).where(profiles.c.id == profile.id)
    if (await connection.execute(revision)).scalar_one() != profile.revision:
        return None
    limits = list_limits(profile.ramp, profile.destinations)
    return {
        number: with_buckets(limit, rows[number]).refill(now) for number, limit in limits.items()
    }


async def save_limits(
    connection: AsyncConnection, *, profile_id: str, limits: Sequence[DestinationLimit]
) -> None:
    """Store what is left of locked limits."""
    rows = [
        {
            "profile_id": profile_id,
            "number": limit.number,
            "rate_tokens": limit.rate_bucket and limit.rate_bucket.tokens,
            "rate_tokens_at": limit.rate_bucket and limit.rate_bucket.at,
            "ramp_tokens": limit.ramp_bucket and limit.ramp_bucket.tokens,
            "ramp_tokens_at": limit.ramp_bucket and limit.ramp_bucket.at,
        }
        for limit in limits
    ]
    await _SAVE.execute(connection, rows)


_SAVE: Final = Bulk(
    Write.update(
        destination_buckets,
        keys=["profile_id", "number"],
        values=["rate_tokens", "rate_tokens_at", "ramp_tokens", "ramp_tokens_at"],
    )
)


async def load_permits(
    connection: AsyncConnection, *, tenant_id: str, profile_ids: Sequence[str], now: datetime
) -> dict[str, dict[int, DestinationPermit]]:
    """Load when the limits next allow a recipient, by profile and number of the destination."""
    if not profile_ids:
        return {}
    parameters = {"tenant_id": tenant_id, "profile_ids": profile_ids}
    permits = defaultdict[str, dict[int, DestinationPermit]](dict)
    for row in (await connection.execute(_PERMITS, parameters)).mappings():
        destinations = build_destinations(row["destinations"])
        limits = list_limits(build_ramp(row["ramp"]), destinations)
        matches = {destination.number: destination.match for destination in destinations}
        if (limit := limits.get(number := row["number"])) is not None:
            at = with_buckets(limit, row).refill(now).next_permit_at(now)
            permits[row["profile_id"]][number] = DestinationPermit(matches.get(number, ()), at)
    return permits


_PERMITS: Final = (
    select(destination_buckets, profiles.c.ramp, profiles.c.destinations)
    .join(profiles, profiles.c.id == destination_buckets.c.profile_id)
    .where(any_of(profiles.c.id, "profile_ids"), profiles.c.tenant_id == bindparam("tenant_id"))
)
