"""Claim: lease due messages for lanes, as far as rates, connections and time allow."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.delivery.assignment import Assignment
from app.delivery.destination_claims import DestinationClaim
from app.delivery.engine_parts import EngineParts
from app.delivery.lane import Lane
from app.delivery.lane_config import LaneConfig
from app.domain.delivery.destination_limit import ANY_NUMBER
from app.domain.delivery.destinations import NO_DESTINATION
from app.domain.delivery.status import RecipientEvent
from app.domain.delivery.token_bucket import Bucket, count_permits
from app.domain.types import RateLimit
from app.store.delivery import lanes, shared_limits
from app.store.outbox import claims as outbox
from app.store.outbox import results as outcomes
from app.store.outbox.claims import ClaimedMessage

# Bounds a transaction, so that no lane delays the others for long.
MAX_CLAIMED: Final = 400


# The connections that this worker may use, by profile and destination; 0: of the whole profile.
Grants = Mapping[tuple[str, int], int]


async def claim(
    parts: EngineParts, assignments: Sequence[Assignment], now: datetime
) -> Mapping[str, Sequence[ClaimedMessage]]:
    """Lease what the lanes can take, in one transaction; returns messages by profile."""
    until = now + parts.leases.length
    async with parts.database.transaction() as connection:
        claim = _Claim(parts, connection, now, until)
        granted, claimed = await claim.lease(assignments)
    for assignment in assignments:
        assignment.lane.limit.grant(_grants_of(assignment.lane, granted))
    parts.leases.add((message.id for message in claimed), until)
    for profile_id, rest_at in claim.rests.items():
        parts.due_ranges.note_claim(profile_id, now, rest_at=rest_at)
    return _group_by_profile(claimed)


def _group_by_profile(
    messages: Iterable[ClaimedMessage],
) -> dict[str, list[ClaimedMessage]]:
    by_profile = defaultdict[str, list[ClaimedMessage]](list)
    for message in messages:
        by_profile[message.profile_id].append(message)
    return by_profile


@dataclass(frozen=True, slots=True)
class _Claim:
    """One claim, in its transaction.

    `rests` are the profiles whose own queue it has read, and from when on it may have left some.
    """

    parts: EngineParts
    connection: AsyncConnection
    now: datetime
    until: datetime
    rests: dict[str, datetime | None] = field(default_factory=dict)

    async def lease(self, assignments: Sequence[Assignment]) -> tuple[Grants, list[ClaimedMessage]]:
        """Return the connections that each profile's lane is granted, and the messages."""
        claimable = [
            assignment
            for assignment in assignments
            if not assignment.is_probe or await self._lock_probe(assignment)
        ]
        granted = await self._lease_connections(claimable)
        # They may have failed since the poll. From now on, a fault waits for this transaction.
        profile_ids = [item.lane.profile_id for item in claimable if not item.is_probe]
        failing = await lanes.load_failing(self.connection, profile_ids=profile_ids)
        allowed = [
            item for item in claimable if item.is_probe or item.lane.profile_id not in failing
        ]
        if all(assignment.is_plain for assignment in allowed):
            return granted, await self._lease_plain(allowed, granted)
        [assignment] = allowed
        return granted, await self._lease_limited(assignment, granted)

    async def _lock_probe(self, probe: Assignment) -> bool:
        return await lanes.lock_probe(
            self.connection,
            profile_id=probe.lane.profile_id,
            revision=probe.source.revision,
            now=self.now,
        )

    async def _lease_connections(self, assignments: Sequence[Assignment]) -> Grants:
        is_shared = self.parts.database.is_postgresql  # else there is no other worker
        max_connections: dict[tuple[str, int], int] = {}
        for lane in (assignment.lane for assignment in assignments):
            own = {NO_DESTINATION: lane.config.profile.max_connections}
            for number, connections in {**own, **lane.config.connection_limits}.items():
                max_connections[lane.profile_id, number] = connections
        if not is_shared:
            return max_connections
        return await shared_limits.lease_connections(
            self.connection,
            max_connections=max_connections,
            worker_id=self.parts.leases.owner,
            now=self.now,
            until=self.until,
        )

    async def _lease_plain(
        self, assignments: Sequence[Assignment], granted: Grants
    ) -> list[ClaimedMessage]:
        """Lease due messages of several profiles, as many as their lanes have room for."""
        max_per_lane = max(1, MAX_CLAIMED // max(1, len(assignments)))
        requests = [
            self._build_request(assignment, min(room, max_per_lane))
            for assignment in assignments
            if (room := self._count_room(assignment, granted))
        ]
        if not requests:
            return []
        claimed = await outbox.claim(
            self.connection,
            requests,
            owner=self.parts.leases.owner,
            now=self.now,
            lease_until=self.until,
            is_clock_checked=self.parts.is_clock_checked,
        )
        by_profile = _group_by_profile(claimed)
        for request in requests:
            self._note_rest(request, by_profile.get(request.profile_id, []))
        return await self._keep_open(claimed)

    def _count_room(self, assignment: Assignment, granted: Grants) -> int:
        lane = assignment.lane
        return lane.count_room(granted[lane.profile_id, NO_DESTINATION])

    def _build_request(
        self, assignment: Assignment, limit: int, max_recipients: int | None = None
    ) -> outbox.ClaimRequest:
        """Build the request for a queue, whole for a probe and for the queue of another profile.

        A fault released messages at their former places, where ranges may not reach.
        """
        profile_id = assignment.source.profile_id
        is_whole = assignment.is_probe or not assignment.is_own
        return outbox.ClaimRequest(
            profile_id,
            limit,
            assignment.lane.room_bytes,
            max_recipients,
            () if is_whole else self.parts.due_ranges.list_to_claim(profile_id, self.now),
        )

    def _note_rest(self, request: outbox.ClaimRequest, claimed: Sequence[ClaimedMessage]) -> None:
        """Note from when on a queue may have more due messages, if a limit was reached.

        Notes nothing of a claim without messages: it may have skipped what others have locked.
        """
        if not claimed:
            return
        max_recipients = math.inf if request.max_recipients is None else request.max_recipients
        is_limited = (
            len(claimed) >= request.limit
            or sum(len(message.mime) for message in claimed) >= request.max_bytes
            or sum(len(message.recipients) for message in claimed) >= max_recipients
        )
        self.rests[request.profile_id] = claimed[-1].due_at if is_limited else None

    async def _lease_limited(self, assignment: Assignment, granted: Grants) -> list[ClaimedMessage]:
        """Lease as many messages as the profile's rate limits allow, or one probe."""
        lane = assignment.lane
        allowance = await _lock_allowance(self.connection, lane.config, self.now)
        limit = min(self._count_room(assignment, granted), allowance.messages)
        if assignment.is_probe:
            limit = min(limit, 1)
        if limit == 0:
            return []
        if assignment.has_destinations:
            to_send = await self._lease_by_destination(
                assignment, limit, allowance.recipients, granted
            )
        else:
            request = self._build_request(assignment, limit, allowance.recipients)
            claimed = await outbox.claim(
                self.connection,
                [request],
                owner=self.parts.leases.owner,
                now=self.now,
                lease_until=self.until,
                # The profile's own server may have accepted it already; no other may get it.
                only_known_outcomes=not assignment.is_own,
                is_clock_checked=self.parts.is_clock_checked,
            )
            if assignment.is_own:
                self._note_rest(request, claimed)
            to_send = await self._keep_open(claimed)
        await allowance.spend(self.connection, lane.config, to_send)
        if assignment.is_probe and to_send:  # else it stays due, for a worker with a connection
            await lanes.reserve_probe(self.connection, profile_id=lane.profile_id, until=self.until)
        return to_send

    async def _lease_by_destination(
        self, assignment: Assignment, limit: int, max_recipients: int | None, granted: Grants
    ) -> list[ClaimedMessage]:
        lane = assignment.lane
        claim = DestinationClaim(
            parts=self.parts,
            connection=self.connection,
            assignment=assignment,
            max_messages=limit,
            max_recipients=max_recipients,
            rooms={
                number: lane.count_room_for(number, granted[lane.profile_id, number])
                for number in lane.config.connection_limits
            },
            now=self.now,
            until=self.until,
        )
        return await claim.lease(self._keep_open)

    async def _keep_open(self, claimed: Iterable[ClaimedMessage]) -> list[ClaimedMessage]:
        """Open the messages to send; finish expired ones, skip those in hand."""
        parts = self.parts
        messages = [
            message.unseal(parts.open_content)
            for message in claimed
            if message.id not in parts.leases
        ]
        # A former owner that stopped may have sent its messages; record that (invariant 5).
        takeovers = [message for message in messages if message.former_owner]
        await outcomes.insert_attempts(
            self.connection, [parts.recorder.build_takeover_row(message) for message in takeovers]
        )
        for message in takeovers:
            reason = "worker_gone" if message.is_owner_gone else "lease_expired"
            parts.metrics.record_takeover(reason)
        expired = [message.id for message in messages if message.expires_at <= self.now]
        await outcomes.finish_open(
            self.connection, message_ids=expired, event=RecipientEvent.EXPIRE, now=self.now
        )
        finished = [
            message.id
            for message in messages
            if not any(recipient.is_open for recipient in message.recipients)
        ]
        await outcomes.close(self.connection, message_ids=finished, now=self.now)
        done_ids = {*expired, *finished}
        return [message for message in messages if message.id not in done_ids]


def _grants_of(lane: Lane, granted: Grants) -> Mapping[int, int]:
    """Return what a lane is granted by destination; what it had, if nothing was decided."""
    numbers = (NO_DESTINATION, *lane.config.connection_limits)
    return {
        number: granted[lane.profile_id, number]
        for number in numbers
        if (lane.profile_id, number) in granted
    }


@dataclass(frozen=True, slots=True)
class _Allowance:
    """The rate limits of the profile and its tenant with their locked buckets (invariant 7)."""

    profile: tuple[RateLimit, Bucket] | None
    tenant: tuple[RateLimit, Bucket] | None

    @property
    def messages(self) -> int:
        """How many messages the lane may start."""
        buckets = filter(None, (self.profile, self.tenant))
        return min((count_permits(bucket) for _, bucket in buckets), default=ANY_NUMBER)

    @property
    def recipients(self) -> int | None:
        """How many recipients the messages may have together; None: any number."""
        buckets = filter(None, (self.profile, self.tenant))
        counts = [
            count_permits(bucket) for limit, bucket in buckets if limit.recipients is not None
        ]
        return min(counts, default=None)

    async def spend(
        self, connection: AsyncConnection, config: LaneConfig, claimed: Sequence[ClaimedMessage]
    ) -> None:
        """Take the permits of claimed messages from the buckets."""
        open_recipients = [sum(map(message.may_send_to, message.recipients)) for message in claimed]
        if self.profile is not None:
            limit, bucket = self.profile
            await shared_limits.spend_profile(
                connection,
                profile_id=config.profile.id,
                bucket=bucket,
                permits=sum(map(limit.cost, open_recipients)),
            )
        if self.tenant is not None:
            limit, bucket = self.tenant
            await shared_limits.spend_tenant(
                connection,
                tenant_id=config.profile.tenant_id,
                bucket=bucket,
                permits=sum(map(limit.cost, open_recipients)),
            )


async def _lock_allowance(
    connection: AsyncConnection, config: LaneConfig, now: datetime
) -> _Allowance:
    """Read the buckets and lock them until the transaction ends, the tenant's first."""
    profile = tenant = None
    if (limit := config.tenant_rate_limit) is not None:
        bucket = await shared_limits.lock_tenant_bucket(
            connection, tenant_id=config.profile.tenant_id, limit=limit, now=now
        )
        tenant = (limit, bucket)
    if (limit := config.profile.rate_limit) is not None:
        bucket = await shared_limits.lock_profile_bucket(
            connection, profile_id=config.profile.id, limit=limit, now=now
        )
        profile = (limit, bucket)
    return _Allowance(profile, tenant)
