"""Store what is left of the limits of profiles, and reset the queues of their messages."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import RowMapping, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery.destination_limit import DestinationLimit, list_limits
from app.domain.delivery.destinations import NO_DESTINATION
from app.domain.delivery.token_bucket import Bucket, count_permits, refill
from app.domain.types import Profile
from app.store.tables.core import UNFINISHED, destination_buckets, lanes, messages


async def change_destinations(
    connection: AsyncConnection, *, before: Profile, after: Profile
) -> None:
    """Bring buckets and queues in step with a profile that has changed, if that is needed."""
    if (before.ramp, before.destinations) == (after.ramp, after.destinations):
        return
    await write_destinations(connection, profile=after)
    if _list_patterns(before) != _list_patterns(after):
        await _reset_queues(connection, tenant_id=after.tenant_id, profile_id=after.id)


def _list_patterns(profile: Profile) -> list[tuple[int, tuple[str, ...]]]:
    return [(destination.number, destination.match) for destination in profile.destinations]


async def write_destinations(connection: AsyncConnection, *, profile: Profile) -> None:
    """Bring the buckets in step with a stored profile.

    Takes their locks: a claim that knows the profile's former destinations ends before, or sees
    the new revision.
    """
    # In the order of claims, which would deadlock otherwise.
    lane = select(lanes.c.profile_id).where(lanes.c.profile_id == profile.id)
    await connection.execute(lane.with_for_update())
    of_profile = destination_buckets.c.profile_id == profile.id
    query = select(destination_buckets.c.number).where(of_profile).with_for_update()
    numbers = set((await connection.execute(query)).scalars())
    limited_numbers = (
        set(list_limits(profile.ramp, profile.destinations))
        if profile.has_destination_limits
        else set[int]()
    )
    await connection.execute(
        delete(destination_buckets).where(
            of_profile, destination_buckets.c.number.in_(numbers - limited_numbers)
        )
    )
    if rows := [
        {"profile_id": profile.id, "number": number} for number in limited_numbers - numbers
    ]:
        await connection.execute(insert(destination_buckets), rows)
    await connection.execute(
        update(lanes)
        .where(lanes.c.profile_id == profile.id)
        .values(has_destinations=profile.has_destination_limits)
    )


async def _reset_queues(connection: AsyncConnection, *, tenant_id: str, profile_id: str) -> None:
    """Let the next claim find the destinations of all waiting messages anew."""
    query = (
        select(messages.c.id)
        .where(
            messages.c.tenant_id == tenant_id,
            messages.c.profile_id == profile_id,
            UNFINISHED,
            messages.c.destination != NO_DESTINATION,
        )
        # Locked in the order of settlements: otherwise both could deadlock.
        .order_by(messages.c.id)
        .with_for_update()
    )
    await connection.execute(
        update(messages).where(messages.c.id.in_(query)).values(destination=NO_DESTINATION)
    )


async def load_limits(
    connection: AsyncConnection, *, tenant_id: str, profiles: Sequence[Profile], now: datetime
) -> dict[str, dict[int, DestinationLimit]]:
    """Load what is left of the limits of a tenant's profiles, by profile id."""
    ids = [
        profile.id
        for profile in profiles
        if profile.has_destination_limits and profile.tenant_id == tenant_id
    ]
    if not ids:
        return {}
    query = select(destination_buckets).where(destination_buckets.c.profile_id.in_(ids))
    rows = {
        (row["profile_id"], row["number"]): row
        for row in (await connection.execute(query)).mappings()
    }
    return {
        profile.id: {
            number: with_buckets(limit, rows.get((profile.id, number))).refill(now)
            for number, limit in list_limits(profile.ramp, profile.destinations).items()
        }
        for profile in profiles
        if profile.id in ids
    }


async def load_available(
    connection: AsyncConnection, *, tenant_id: str, profiles: Sequence[Profile], now: datetime
) -> dict[str, int]:
    """Count what the rate limits of a tenant's profiles allow at once, by profile id."""
    limits = {
        profile.id: profile.rate_limit
        for profile in profiles
        if profile.rate_limit is not None and profile.tenant_id == tenant_id
    }
    if not limits:
        return {}
    query = select(lanes.c.profile_id, lanes.c.tokens, lanes.c.tokens_at).where(
        lanes.c.profile_id.in_(limits)
    )
    buckets = {
        row.profile_id: None if row.tokens is None else Bucket(row.tokens, row.tokens_at)
        for row in await connection.execute(query)
    }
    return {
        profile_id: count_permits(refill(buckets.get(profile_id), limit, now))
        for profile_id, limit in limits.items()
    }


def with_buckets(limit: DestinationLimit, row: RowMapping | None) -> DestinationLimit:
    """Return the limit with the buckets of a row."""
    return replace(
        limit, rate_bucket=_read_bucket(row, "rate"), ramp_bucket=_read_bucket(row, "ramp")
    )


def _read_bucket(row: RowMapping | None, kind: str) -> Bucket | None:
    tokens = None if row is None else row[f"{kind}_tokens"]
    return None if row is None or tokens is None else Bucket(tokens, row[f"{kind}_tokens_at"])
