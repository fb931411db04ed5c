"""Poll for due messages, and give each lane as many as it can take."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.delivery.assignment import Assignment, order_lanes, split_by_transaction
from app.delivery.claims import claim
from app.delivery.engine_parts import EngineParts
from app.delivery.lane_state import LaneState
from app.delivery.registry import LaneRegistry
from app.domain.clock import monotonic_seconds
from app.store.delivery import lanes
from app.store.delivery.lanes import WaitingLane
from app.store.outbox.claims import ClaimedMessage

# The wait before polling again: another worker had locked due messages, or may own all of them.
CONTENDED_RETRY: Final = timedelta(seconds=0.5)
# Bounds a transaction, so that no lane delays the others for long.
MAX_LANES: Final = 32


@dataclass(slots=True)
class Scheduler:
    """Claims for lanes once `wake` is set, once something is due, and every `poll_interval`.

    Claims nothing while too many outcomes wait to be written, or while this worker is not certain
    of its leases.
    """

    parts: EngineParts
    registry: LaneRegistry
    poll_interval: timedelta
    is_stopping: bool = False

    def stop(self) -> None:
        """Stop claiming, and release claims in progress."""
        self.is_stopping = True
        self.parts.wake.set()

    async def claim_due(self) -> None:
        """Claim for each lane with due messages and room, then wait for the next poll."""
        self.parts.wake.clear()
        if self.parts.leases.has_run_out:
            # The database was down: this worker must not claim again what it already holds.
            await self.parts.leases.renew()
        now = self.parts.clock.now()
        versions = self.registry.read_versions()
        waiting = await self._poll(now)
        self.registry.apply_poll(waiting, now, versions)
        await self.registry.close_unused(waiting)
        is_contended = await self._claim_ready(waiting, now)
        if not self.is_stopping:
            next_poll_at = self._next_poll_at(waiting, now, is_contended=is_contended)
            await self.parts.clock.wait(self.parts.wake, next_poll_at)

    async def _poll(self, now: datetime) -> Sequence[WaitingLane]:
        """Load the lanes at work, of some only what may have become due since the last poll."""
        database, due_ranges = self.parts.database, self.parts.due_ranges
        async with database.reading() as connection:
            if not database.is_postgresql:  # it keeps no dead index entries
                return await lanes.load_waiting(connection, now=now)
            ranges = due_ranges.begin_round(now, ahead=self.poll_interval)
            started_at = monotonic_seconds()
            waiting = await lanes.load_waiting(connection, now=now, ranges=ranges)
            seconds = monotonic_seconds() - started_at
        due_times = {lane.profile_id: lane.message_due_at for lane in waiting}
        due_ranges.note_poll(due_times, now, seconds=seconds)
        return waiting

    async def _claim_ready(self, waiting: Iterable[WaitingLane], now: datetime) -> bool:
        """Claim in fair turns; returns whether some messages must wait for other workers."""
        is_contended = False
        ready = order_lanes(
            due for due in waiting if due.is_open and (due.due_at <= now or due.needs_fallback(now))
        )
        for start in range(0, len(ready), MAX_LANES):
            assignments = await self._assign(ready[start : start + MAX_LANES], now)
            for group in split_by_transaction(assignments):
                if self.is_stopping or self.parts.settler.is_full:
                    return is_contended
                if not self.parts.leases.is_certain:
                    return True
                fed = await self._feed(group)
                if fed:
                    # The due time of their next message or permit is unknown.
                    self.parts.wake.set()
                is_contended = is_contended or fed < len(group)
        return is_contended

    def _next_poll_at(
        self, waiting: Iterable[WaitingLane], now: datetime, *, is_contended: bool
    ) -> datetime:
        moments = [
            moment
            for due in waiting
            if due.is_open
            for moment in (due.due_at, due.fallback_at)
            if moment is not None and moment > now
        ]
        return min([now + (CONTENDED_RETRY if is_contended else self.poll_interval), *moments])

    async def _assign(self, ready: Iterable[WaitingLane], now: datetime) -> list[Assignment]:
        """Find the lanes for due messages that have room."""
        pairs = [(due, await self._find_sender(due, now)) for due in ready]
        known = await self.registry.open(sender for _, sender in pairs if sender is not None)
        assignments = [
            Assignment(known[sender.profile_id], due)
            for due, sender in pairs
            if sender is not None and sender.profile_id in known
        ]
        return [assignment for assignment in assignments if assignment.has_room]

    async def _find_sender(self, due: WaitingLane, now: datetime) -> WaitingLane | None:
        """Find the profile that sends: the message's own, its fallback, or none now."""
        if due.due_at <= now or due.fallback_profile_id is None:
            return due
        async with self.parts.database.reading() as connection:
            fallback = await lanes.find(connection, profile_id=due.fallback_profile_id, now=now)
        can_send = fallback.is_open and not fallback.is_failing and fallback.due_at <= now
        return fallback if can_send else None

    async def _feed(self, assignments: Sequence[Assignment]) -> int:
        """Claim in one transaction; returns how many lanes got messages."""
        claimed = await claim(self.parts, assignments, self.parts.clock.now())
        for assignment in assignments:
            await self._give(assignment, claimed.get(assignment.source.profile_id, ()))
        return len(claimed)

    async def _give(self, assignment: Assignment, claimed: Sequence[ClaimedMessage]) -> None:
        """Hand a lane its claimed messages; release them if it cannot start any."""
        lane = assignment.lane
        if lane.limit.granted == 0:
            await self.parts.leases.give_back(lane.drop_queue())
        await self.parts.leases.give_back(lane.drop_blocked())
        if not claimed:
            return
        self.parts.metrics.record_group("claim", len(claimed))
        if self.is_stopping or lane.machine.state is LaneState.HALTED:
            await self.parts.leases.give_back([message.id for message in claimed])
        elif assignment.is_probe:
            lane.take_probe(claimed[0])
        else:
            lane.take(claimed)
