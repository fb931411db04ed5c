"""Correct stored times that lie too far ahead, after a clock error.

Each time moves to the latest that a schedule could set now.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Column, ColumnElement, case, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery.retry import GREYLIST, PROBE
from app.domain.types import RecipientStatus
from app.domain.webhooks import JITTER, MAX_PROBE_WAIT, MAX_RETRY_AFTER
from app.store.db.column_types import Instant
from app.store.tables.core import (
    connection_permits,
    destination_buckets,
    lanes,
    messages,
    profiles,
    purges,
    recipients,
    tenant_buckets,
    verify_buckets,
    workers,
)
from app.store.tables.events import webhook_deliveries, webhooks
from app.store.tables.inbound import mailboxes

# Clocks of machines differ by less, and a time so little ahead does no harm.
TOLERANCE: Final = timedelta(minutes=1)
LONGEST_LEASE: Final = timedelta(hours=1)  # the maximum of HELOISE_LEASE_SECONDS
LATEST_LEASE: Final = LONGEST_LEASE + TOLERANCE  # a later end comes from a clock that was ahead


async def clamp_times(connection: AsyncConnection, *, now: datetime, lease: timedelta) -> int:
    """Clamp the times that delivery waits for; return how many rows changed.

    `lease` is how long a probe reserves a lane.
    """
    probe = now + max(PROBE.cap, lease)
    clamped = 0
    for column, latest in (
        (lanes.c.next_probe_at, probe),
        (lanes.c.failing_since, now),
        (lanes.c.stalled_since, now),
        (lanes.c.tokens_at, now),
        (tenant_buckets.c.tokens_at, now),
        (verify_buckets.c.tokens_at, now),
        (destination_buckets.c.rate_tokens_at, now),
        (destination_buckets.c.ramp_tokens_at, now),
        (workers.c.seen_at, now),
        (webhooks.c.next_probe_at, now + MAX_PROBE_WAIT),
        (webhooks.c.failing_since, now),
        (mailboxes.c.failing_since, now),
        (purges.c.purged_at, now),
        (connection_permits.c.expires_at, now + LONGEST_LEASE),
    ):
        clamped += await _clamp_column(connection, column, latest)
    for clamp_rows in (_clamp_mailboxes, _clamp_deliveries, _clamp_messages):
        clamped += await clamp_rows(connection, now)
    return clamped


async def _clamp_column(
    connection: AsyncConnection, column: Column[datetime], latest: datetime
) -> int:
    result = await connection.execute(
        update(column.table).where(column > latest + TOLERANCE).values({column: latest})
    )
    return result.rowcount


async def _clamp_mailboxes(connection: AsyncConnection, now: datetime) -> int:
    clamped = 0
    for seconds in await _distinct(connection, mailboxes.c.poll_seconds):
        latest = now + max(timedelta(seconds=seconds), LONGEST_LEASE)
        statement = update(mailboxes).where(
            mailboxes.c.poll_seconds == seconds, mailboxes.c.next_poll_at > latest
        )
        clamped += (await connection.execute(statement.values(next_poll_at=latest))).rowcount
    return clamped


async def _clamp_deliveries(connection: AsyncConnection, now: datetime) -> int:
    """Clamp new deliveries to a lease, and retried ones to the longest Retry-After."""
    clamped = 0
    for condition, latest in (
        (webhook_deliveries.c.attempts == 0, now + LONGEST_LEASE),
        (webhook_deliveries.c.attempts > 0, now + MAX_RETRY_AFTER * (1 + JITTER)),
    ):
        statement = update(webhook_deliveries).where(
            condition, webhook_deliveries.c.due_at > latest
        )
        clamped += (await connection.execute(statement.values(due_at=latest))).rowcount
    return clamped


async def _clamp_messages(connection: AsyncConnection, now: datetime) -> int:
    """Clamp leased messages, retries, and messages without an attempt."""
    is_held = messages.c.lease_owner.is_not(None)
    leased_update = update(messages).where(is_held, messages.c.due_at > now + LATEST_LEASE)
    clamped = (await connection.execute(leased_update.values(due_at=now + LONGEST_LEASE))).rowcount
    for seconds in await _distinct(connection, profiles.c.retry_cap_seconds):
        latest = now + max(timedelta(seconds=seconds), GREYLIST.cap)
        clamped += await _clamp_retries(connection, seconds, latest, now)
    # A message without an attempt is due at `send_at`, or else since its acceptance.
    first_due_at = case(
        (messages.c.send_at > now, messages.c.send_at), else_=literal(now, Instant())
    )
    untried_update = update(messages).where(
        ~is_held,
        messages.c.due_at > now + TOLERANCE,
        messages.c.due_at > first_due_at,
        ~_is_deferred(),
    )
    return clamped + (await connection.execute(untried_update.values(due_at=first_due_at))).rowcount


async def _clamp_retries(
    connection: AsyncConnection, cap_seconds: float, latest: datetime, now: datetime
) -> int:
    """Clamp retries of messages whose profiles have this longest delay."""
    profile_ids = select(profiles.c.id).where(profiles.c.retry_cap_seconds == cap_seconds)
    conditions = (
        messages.c.profile_id.in_(profile_ids),
        messages.c.due_at > latest,
        messages.c.lease_owner.is_(None),
        (messages.c.send_at.is_(None) | (messages.c.send_at <= now)),
        _is_deferred(),
    )
    await connection.execute(
        update(recipients)
        .where(
            recipients.c.message_id.in_(select(messages.c.id).where(*conditions)),
            recipients.c.status == RecipientStatus.DEFERRED.value,
            recipients.c.next_attempt_at > latest,
        )
        .values(next_attempt_at=latest)
    )
    return (
        await connection.execute(update(messages).where(*conditions).values(due_at=latest))
    ).rowcount


def _is_deferred() -> ColumnElement[bool]:
    """Build the condition that a message has a deferred recipient."""
    return (
        select(recipients.c.message_id)
        .where(
            recipients.c.message_id == messages.c.id,
            recipients.c.status == RecipientStatus.DEFERRED.value,
        )
        .exists()
    )


async def _distinct(connection: AsyncConnection, column: Column[float]) -> list[float]:
    return list((await connection.execute(select(column).distinct())).scalars())
