"""Count waiting messages for metrics."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.types import MessageStatus, ProfileState
from app.store.tables.core import UNFINISHED, lanes, messages, profiles


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many messages have a status, and when the oldest was accepted."""

    status: MessageStatus
    count: int
    oldest_at: datetime


async def load_queue_depths(connection: AsyncConnection) -> list[QueueDepth]:
    """Count the unfinished messages of all tenants by status."""
    query = (
        select(messages.c.status, func.count(), func.min(messages.c.created_at))
        .where(UNFINISHED)
        .group_by(messages.c.status)
    )
    rows = await connection.execute(query)
    return [QueueDepth(MessageStatus(status), count, oldest) for status, count, oldest in rows]


async def count_profile_states(connection: AsyncConnection) -> dict[ProfileState, int]:
    """Count the profiles of all tenants by state."""
    state = case(
        (profiles.c.paused_at.is_not(None), ProfileState.PAUSED.value),
        (lanes.c.failing_since.is_not(None), ProfileState.FAILING.value),
        (lanes.c.stalled_since.is_not(None), ProfileState.STALLED.value),
        else_=ProfileState.ACTIVE.value,
    )
    query = (
        select(state, func.count())
        .join(lanes, lanes.c.profile_id == profiles.c.id)
        .where(profiles.c.deleted_at.is_(None))
        .group_by(state)
    )
    return {ProfileState(name): count for name, count in await connection.execute(query)}
