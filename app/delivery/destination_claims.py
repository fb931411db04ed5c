"""Claim from the queues of a profile's destinations, as far as their limits allow."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.delivery.assignment import Assignment
from app.delivery.destination_plan import (
    Candidate,
    Plan,
    Planner,
    build_candidate,
    spend_messages,
)
from app.delivery.engine_parts import EngineParts
from app.domain.delivery.destination_limit import DestinationLimit
from app.domain.delivery.destinations import NO_DESTINATION, match_destination
from app.store.delivery import destinations as store
from app.store.outbox import claims as outbox
from app.store.outbox import destination_queues as queues
from app.store.outbox.claims import ClaimedMessage

# How many messages of queue 0 a claim looks at: more than it leases, since those that wait move on.
MAX_CANDIDATES: Final = 1000

KeepOpen = Callable[[Iterable[ClaimedMessage]], Awaitable[list[ClaimedMessage]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationClaim:
    """One claim of a lane with destinations, in its transaction.

    `rooms` says how many messages the lane can take for destinations that limit connections.
    """

    parts: EngineParts
    connection: AsyncConnection
    assignment: Assignment
    max_messages: int
    max_recipients: int | None
    rooms: Mapping[int, int]
    now: datetime
    until: datetime

    async def lease(self, keep_open: KeepOpen) -> list[ClaimedMessage]:
        """Lease messages for the recipients that may have them now; the others wait."""
        profile = self.assignment.lane.config.profile
        limits = await self._lock_limits()
        if limits is None or limits[NO_DESTINATION].count_recipients() == 0:
            return []
        plan = await self._plan(limits)
        await queues.move(self.connection, plan.moves)
        await queues.delay(self.connection, plan.delays)
        if plan.moves or plan.delays:  # behind them may be others
            self.parts.wake.set()
        claimed = await outbox.lease_rows(
            self.connection,
            plan.rows,
            owner=self.parts.leases.owner,
            now=self.now,
            lease_until=self.until,
        )
        to_send = await keep_open(
            replace(
                message,
                allowed=plan.allowed[message.id],
                limited_destination=plan.limited.get(message.id, NO_DESTINATION),
            )
            for message in claimed
        )
        await store.save_limits(
            self.connection, profile_id=profile.id, limits=spend_messages(limits, to_send)
        )
        return to_send

    async def _lock_limits(self) -> dict[int, DestinationLimit] | None:
        profile = self.assignment.lane.config.profile
        if not profile.has_destination_limits:  # the message's own profile has some
            return {NO_DESTINATION: DestinationLimit(number=NO_DESTINATION)}
        return await store.lock_limits(self.connection, profile, now=self.now)

    async def _plan(self, limits: Mapping[int, DestinationLimit]) -> Plan:
        candidates = await self._find_candidates(limits)
        unknown = {domain for candidate in candidates for domain in candidate.unknown}
        self.parts.mail_exchangers.look_up(unknown)
        planner = Planner(
            limits=dict(limits),
            rooms=dict(self.rooms),
            max_messages=self.max_messages,
            max_bytes=self.assignment.lane.room_bytes,
            max_recipients=self.max_recipients,
            has_queues=self.assignment.is_own,
            now=self.now,
        )
        return planner.build(candidates)

    async def _find_candidates(self, limits: Mapping[int, DestinationLimit]) -> Sequence[Candidate]:
        assignment = self.assignment
        find_due = partial(
            queues.find_due,
            self.connection,
            profile_id=assignment.source.profile_id,
            now=self.now,
            # The profile's own server may have accepted it already; no other server may get it.
            only_known_outcomes=not assignment.is_own,
            is_clock_checked=self.parts.is_clock_checked,
        )
        permits = self._count_permits(limits)
        rows = [
            *await find_due(numbers=[NO_DESTINATION], limit=MAX_CANDIDATES),
            *await find_due(numbers=list(permits), limit=max(permits.values(), default=0)),
        ]
        recipients = await outbox.load_recipients(self.connection, [row.id for row in rows])
        return [
            build_candidate(
                row,
                recipients[row.id],
                self._find_number_for(row.destination),
                self.now,
                self.parts.mail_exchangers.is_unresolved,
            )
            for row in rows
        ]

    def _count_permits(self, limits: Mapping[int, DestinationLimit]) -> dict[int, int]:
        """Return how many messages of each queue with due messages may leave now."""
        numbers = [number for number in self.assignment.source.queues if number != NO_DESTINATION]
        if not self.assignment.is_own:
            return dict.fromkeys(numbers, self.max_messages)
        permits = {
            number: min(
                self.max_messages,
                limits[number].count_messages(),
                limits[number].count_recipients(),
                self.rooms.get(number, self.max_messages),
            )
            for number in numbers
            if number in limits
        }
        return {number: count for number, count in permits.items() if count > 0}

    def _find_number_for(self, destination: int) -> Callable[[str], int | None]:
        """Return what finds the destination of a recipient of a message in this queue."""
        if self.assignment.is_own and destination != NO_DESTINATION:
            return lambda _: destination
        return partial(
            match_destination,
            destinations=self.assignment.lane.config.profile.destinations,
            find_mx_hosts=self.parts.mail_exchangers.find,
        )
