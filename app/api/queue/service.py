"""Read the queue of a tenant or of all tenants."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.http.pagination import encode_cursor
from app.api.queue.schemas import (
    DepthRead,
    QueueProfileRead,
    QueueRead,
    ServiceRead,
    ThroughputRead,
)
from app.domain.delivery.status import OPEN_STATUSES
from app.domain.outcome.outcome import Verdict
from app.domain.types import MessageStatus
from app.store.delivery import queue
from app.store.delivery.queue import QueueDepth, QueuePlace, QueueScope
from app.store.delivery.service_state import load_service_state

THROUGHPUT_SPAN: Final = timedelta(minutes=5)
# A walk over so many messages takes some milliseconds.
MAX_COUNTED: Final = 10_000
NO_ATTEMPTS: Final[Mapping[Verdict, int]] = {}


async def read_queue(
    connection: AsyncConnection,
    scope: QueueScope,
    *,
    now: datetime,
    alive_since: datetime,
    limit: int,
    after: QueuePlace | None = None,
) -> QueueRead:
    """Read the queue and a page of its profiles; workers are gone without a heartbeat.

    Of all tenants, with the state of the service.
    """
    service = None
    if scope.tenant_id is None:
        service = await load_service_state(connection, alive_since=alive_since)
    depth = await queue.load_depth(connection, scope, now)
    moments = await queue.load_moments(connection, scope, now=now, alive_since=alive_since)
    throughput = await queue.load_throughput(connection, scope, since=now - THROUGHPUT_SPAN)
    rows = await queue.page_profiles(connection, scope, now=now, limit=limit + 1, after=after)
    attempts = throughput.attempts
    total = Counter[Verdict]()
    for of_profile in attempts.values():
        total.update(of_profile)
    return QueueRead(
        messages=_fill_statuses(depth),
        due=depth.due,
        oldest_at=moments.oldest_at,
        next_attempt_at=moments.next_attempt_at,
        workers=moments.workers,
        service=service and ServiceRead.model_validate(service),
        throughput=ThroughputRead(since=throughput.since, attempts=_fill(total)),
        items=[
            QueueProfileRead.of(row, _fill(attempts.get(row.id, NO_ATTEMPTS)))
            for row in rows[:limit]
        ],
        next_cursor=encode_cursor(format_place(rows[limit - 1].place)) if rows[limit:] else None,
    )


async def read_depth(connection: AsyncConnection, scope: QueueScope, *, now: datetime) -> DepthRead:
    """Count the unfinished messages among the `MAX_COUNTED` oldest of the tenant."""
    depth = await queue.load_depth(connection, scope, now, limit=MAX_COUNTED)
    return DepthRead(messages=_fill_statuses(depth), due=depth.due, is_complete=depth.is_complete)


def format_place(place: QueuePlace) -> str:
    """Format a place in the list of profiles for a cursor."""
    return f"{place.has_fault:d}{place.id}"


def _fill_statuses(depth: QueueDepth) -> dict[MessageStatus, int]:
    return {status: depth.counts.get(status, 0) for status in OPEN_STATUSES}


def _fill(counts: Mapping[Verdict, int]) -> dict[Verdict, int]:
    return {verdict: counts.get(verdict, 0) for verdict in Verdict}
