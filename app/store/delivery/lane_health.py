"""Store the health of lanes: faults, stalls and the connections that their servers handle."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery.waiting import SERVER_SILENT
from app.domain.events import EventType
from app.store.delivery import profile_notices
from app.store.events import append_profile_event
from app.store.tables.core import lanes, profiles


async def record_fault(
    connection: AsyncConnection,
    *,
    profile_id: str,
    revision: int,
    code: str,
    reason: str,
    now: datetime,
    wait: Callable[[int], timedelta],
    is_probe: bool,
) -> bool:
    """Mark the profile as failing and plan its next probe after `wait(faults)`.

    Returns whether it was recorded. A fault under a former revision says nothing about the current
    profile. Of several connections that fail at once only the first counts, and for a failing
    profile only its probe: otherwise one outage would count many times.
    """
    query = (
        select(lanes.c.failing_since, lanes.c.faults)
        .join(profiles, profiles.c.id == lanes.c.profile_id)
        .where(lanes.c.profile_id == profile_id, profiles.c.revision == revision)
        .with_for_update(of=lanes)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None or (row.failing_since is not None and not is_probe):
        return False
    if row.failing_since is None:
        await _tell_failure(connection, EventType.PROFILE_FAILING, profile_id, code, reason, now)
    faults = row.faults + 1
    await connection.execute(
        update(lanes)
        .where(lanes.c.profile_id == profile_id)
        .values(
            failing_since=row.failing_since or now,
            code=code,
            reason=reason,
            faults=faults,
            next_probe_at=now + wait(faults),
            stalled_since=None,
        )
    )
    return True


async def record_stall(
    connection: AsyncConnection, *, profile_id: str, reason: str, now: datetime
) -> bool:
    """Mark a profile as stalled: its server is silent on every connection.

    Returns False if it is stalled or failing already.
    """
    result = await connection.execute(
        update(lanes)
        .where(
            lanes.c.profile_id == profile_id,
            lanes.c.stalled_since.is_(None),
            lanes.c.failing_since.is_(None),
        )
        .values(stalled_since=now)
    )
    if result.rowcount == 0:
        return False
    stalled = EventType.PROFILE_STALLED
    await _tell_failure(connection, stalled, profile_id, SERVER_SILENT, reason, now)
    return True


async def record_stall_end(connection: AsyncConnection, *, profile_id: str, now: datetime) -> None:
    """Clear the mark of a stalled profile."""
    result = await connection.execute(
        update(lanes)
        .where(lanes.c.profile_id == profile_id, lanes.c.stalled_since.is_not(None))
        .values(stalled_since=None)
    )
    if result.rowcount:
        await _tell_recovery(connection, profile_id, {"code": SERVER_SILENT}, now)


async def record_concurrency(
    connection: AsyncConnection, *, profile_id: str, concurrency: int | None
) -> None:
    """Store how many connections the server handles; None means the profile's maximum."""
    await connection.execute(
        update(lanes).where(lanes.c.profile_id == profile_id).values(concurrency=concurrency)
    )


async def record_recovery(connection: AsyncConnection, *, profile_id: str, now: datetime) -> None:
    """Clear the faults of a failing profile."""
    query = (
        select(lanes.c.code, lanes.c.reason)
        .where(lanes.c.profile_id == profile_id, lanes.c.failing_since.is_not(None))
        .with_for_update()
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return
    await connection.execute(
        update(lanes)
        .where(lanes.c.profile_id == profile_id)
        .values(failing_since=None, code=None, reason=None, next_probe_at=None, faults=0)
    )
    await _tell_recovery(connection, profile_id, {"code": row.code, "reason": row.reason}, now)


async def _tell_failure(
    connection: AsyncConnection,
    kind: EventType,
    profile_id: str,
    code: str,
    reason: str,
    now: datetime,
) -> None:
    data = {"code": code, "reason": reason}
    await append_profile_event(connection, kind, profile_id=profile_id, now=now, data=data)
    await profile_notices.note_failure(
        connection, profile_id=profile_id, code=code, reason=reason, now=now
    )


async def _tell_recovery(
    connection: AsyncConnection, profile_id: str, former_fault: dict[str, Any], now: datetime
) -> None:
    await append_profile_event(
        connection, EventType.PROFILE_RECOVERED, profile_id=profile_id, now=now, data=former_fault
    )
    await profile_notices.note_recovery(connection, profile_id=profile_id, now=now)
