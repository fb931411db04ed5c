"""Apply the rate limits of profile and tenant to a lane (invariant 7)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from app.delivery.lane_config import LaneConfig
from app.domain.delivery.token_bucket import Bucket, count_permits
from app.domain.types import Profile, RateLimit
from app.store.delivery import shared_limits as store
from app.store.outbox.claims import ClaimedMessage

ANY_NUMBER = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """The locked buckets of a claim, and what they allow."""

    profile: Profile
    profile_bucket: Bucket | None
    tenant_limit: RateLimit | None
    tenant_bucket: Bucket | None

    @property
    def messages(self) -> int:
        """How many messages the lane may start."""
        buckets = (self.profile_bucket, self.tenant_bucket)
        return min((count_permits(bucket) for bucket in buckets if bucket), default=ANY_NUMBER)

    @property
    def recipients(self) -> int | None:
        """How many recipients the messages may have together; None: any number."""
        limits = [
            count_permits(bucket)
            for limit, bucket in (
                (self.profile.rate_limit, self.profile_bucket),
                (self.tenant_limit, self.tenant_bucket),
            )
            if limit is not None and bucket is not None and limit.recipients is not None
        ]
        return min(limits, default=None)

    async def spend(self, connection: AsyncConnection, claimed: Sequence[ClaimedMessage]) -> None:
        """Take the permits of claimed messages from the buckets."""
        open_recipients = [sum(map(message.may_send_to, message.recipients)) for message in claimed]
        if self.profile.rate_limit is not None and self.profile_bucket is not None:
            await store.spend_profile(
                connection,
                profile_id=self.profile.id,
                bucket=self.profile_bucket,
                permits=sum(map(self.profile.rate_limit.cost, open_recipients)),
            )
        if self.tenant_limit is not None and self.tenant_bucket is not None:
            await store.spend_tenant(
                connection,
                tenant_id=self.profile.tenant_id,
                bucket=self.tenant_bucket,
                permits=sum(map(self.tenant_limit.cost, open_recipients)),
            )


async def lock_allowance(
    connection: AsyncConnection, config: LaneConfig, *, now: datetime
) -> Allowance:
    """Read the buckets and lock them until the transaction ends, the tenant's first."""
    profile, tenant_limit = config.profile, config.tenant_rate_limit
    tenant_bucket = profile_bucket = None
    if tenant_limit is not None:
        tenant_bucket = await store.lock_tenant_bucket(
            connection, tenant_id=profile.tenant_id, limit=tenant_limit, now=now
        )
    if profile.rate_limit is not None:
        profile_bucket = await store.lock_profile_bucket(
            connection, profile_id=profile.id, limit=profile.rate_limit, now=now
        )
    return Allowance(
        profile=profile,
        profile_bucket=profile_bucket,
        tenant_limit=tenant_limit,
        tenant_bucket=tenant_bucket,
    )
