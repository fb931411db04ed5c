"""Raise the problems of exceeded quotas."""

import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.rate_limiter import RateLimiter
from app.domain.errors import Problem, QuotaExceeded, TooManyRequests
from app.domain.tenants.quotas import Exceeded
from app.domain.types import Tenant
from app.store.tenants import queries as tenants

DAY_SECONDS: Final = 86_400
PERIODS: Final = {"messages_per_day": DAY_SECONDS, "messages_per_month": 30 * DAY_SECONDS}
# No estimate is possible; clients that retry this often do no harm.
QUEUE_RETRY_SECONDS: Final = 30


def check_rate(tenant: Tenant, buckets: RateLimiter) -> None:
    """Count a request against the tenant's rate; raises TooManyRequests above it."""
    limit = tenant.quota.requests_per_second
    if limit is None:
        return
    if wait := buckets.take(tenant.id, capacity=limit, per_second=limit):
        raise TooManyRequests(
            "too-many-requests",
            f"The tenant may make {limit} requests a second (requests_per_second); wait for"
            " Retry-After.",
            retry_after_seconds=math.ceil(wait),
            limit=limit,
            per_seconds=1,
        )


def check_profiles(tenant: Tenant, count: int) -> None:
    """Raise QuotaExceeded if a tenant with this many profiles may not have another."""
    limit = tenant.quota.profiles
    if limit is not None and count >= limit:
        raise QuotaExceeded(
            f"The tenant may have {limit} profiles (profiles) and has {count}: delete one, or"
            " raise the limit."
        )


async def check_count(
    connection: AsyncConnection,
    tenant_id: str,
    count: Callable[..., Awaitable[int]],
    limit: int,
    noun: str,
) -> None:
    """Lock the tenant; raises QuotaExceeded if it may not have another of these objects."""
    await tenants.lock(connection, tenant_id=tenant_id)
    if await count(connection, tenant_id=tenant_id) >= limit:
        raise QuotaExceeded(f"A tenant may have {limit} {noun} and has {limit}: delete one.")


def check_recipients(tenant: Tenant, count: int) -> None:
    """Raise QuotaExceeded if a message has too many recipients for the tenant."""
    limit = tenant.quota.recipients_per_message
    if limit is not None and count > limit:
        raise QuotaExceeded(
            f"A message of this tenant may have {limit} recipients (recipients_per_message), and"
            f" this one has {count}: send several messages, or raise the limit."
        )


def build_quota_problem(exceeded: Exceeded, now: datetime) -> Problem:
    """Build the problem for a message that exceeds a quota."""
    name, limit = exceeded.limit, exceeded.value
    if exceeded.resets_at is not None:
        wait = (exceeded.resets_at - now).total_seconds()
        return TooManyRequests(
            "sending-quota-exceeded",
            f"The tenant has sent its {limit} messages of this period ({name}) and may send again"
            f" from {exceeded.resets_at:%Y-%m-%dT%H:%M:%SZ}.",
            retry_after_seconds=max(1, math.ceil(wait)),
            limit=limit,
            per_seconds=PERIODS[name],
        )
    if name == "queued_messages":
        return TooManyRequests(
            "queue-full",
            f"The tenant may have {limit} unfinished messages ({name}) and has {limit}: check for"
            " failing or paused profiles, or wait.",
            retry_after_seconds=QUEUE_RETRY_SECONDS,
            limit=limit,
            per_seconds=None,
        )
    return QuotaExceeded(
        f"The tenant may store {limit} bytes of messages ({name}), and this message exceeds that:"
        " raise the limit."
    )
