"""Hand an accepted message to a lane in memory, already leased.

If the lane has room and no backlog, the accepting process delivers at once. A crash in between
leaves a lease that expires like any other (invariant 3).
"""

import asyncio
from collections.abc import Sequence

from app.delivery.engine_parts import EngineParts
from app.delivery.lane import Lane
from app.delivery.lane_state import MAY_TAKE_ACCEPTED, LaneState
from app.delivery.registry import LaneRegistry
from app.domain.types import NewMessage
from app.store.outbox.claims import ClaimedMessage
from app.store.outbox.leases import Lease


class Handover:
    """Reserves room in lanes for messages that are being written."""

    def __init__(self, parts: EngineParts, registry: LaneRegistry) -> None:
        self._parts = parts
        self._leases = parts.leases
        self._registry = registry
        self._is_stopping = False
        self._reserved: dict[str, Lane] = {}
        self._returning: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Stop handing over; return reserved messages to the database."""
        self._is_stopping = True

    async def wait_returned(self) -> None:
        """Wait until all messages that did not start are returned."""
        await asyncio.gather(*self._returning)

    def reserve(self, messages: Sequence[NewMessage]) -> Lease:
        """Return a lease that holds the messages whose lane has room for them."""
        for message in messages:
            if (lane := self._find_lane(message)) is not None:
                lane.reserved += 1
                self._reserved[message.id] = lane
        return Lease(
            owner=self._leases.owner,
            until=self._parts.clock.now() + self._leases.length,
            message_ids=frozenset(m.id for m in messages if m.id in self._reserved),
        )

    def _find_lane(self, message: NewMessage) -> Lane | None:
        """Find the lane that can start the message now."""
        lane = self._registry.lanes.get(message.profile_id)
        is_direct = (
            lane is not None
            and lane.machine.state is LaneState.DIRECT
            and not lane.config.has_limits
            # Another revision may have another identity or be paused: the scheduler reads it first.
            and lane.config.profile.revision == message.profile_revision
            and lane.has_room
            and not message.is_scheduled
            and not self._is_stopping
            and not self._parts.settler.is_full
            and self._leases.is_certain
        )
        return lane if is_direct else None

    def withdraw(self, lease: Lease) -> None:
        """Free the room of messages that were not written with the lease."""
        for message_id in lease.message_ids:
            if (lane := self._reserved.pop(message_id, None)) is not None:
                lane.reserved -= 1

    def hand_over(self, messages: Sequence[NewMessage], lease: Lease) -> None:
        """Give the lanes the messages that were written with the lease."""
        self._leases.add(lease.message_ids, lease.until)
        accepted: dict[Lane, list[ClaimedMessage]] = {}
        for message in messages:
            if message.id in lease.message_ids:
                lane = self._reserved.pop(message.id)
                lane.reserved -= 1
                accepted.setdefault(lane, []).append(ClaimedMessage.from_new(message))
        for lane, claimed in accepted.items():
            self._give(lane, claimed)
        if lease.message_ids:
            self._parts.metrics.record_group("handover", len(lease.message_ids))

    def _give(self, lane: Lane, messages: Sequence[ClaimedMessage]) -> None:
        """Give a lane its accepted messages, or release them if it cannot start."""
        is_kept = self._registry.lanes.get(lane.profile_id) is lane
        if is_kept and not self._is_stopping and lane.machine.state in MAY_TAKE_ACCEPTED:
            lane.take(messages)
            return
        ids = [message.id for message in messages]
        returning = asyncio.create_task(self._leases.give_back(ids))
        self._returning.add(returning)
        returning.add_done_callback(self._returning.discard)
