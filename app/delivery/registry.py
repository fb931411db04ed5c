"""Keep the lanes of one worker at their profiles' revisions; close idle, watch stalled ones."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakSet

from app.delivery.engine_parts import EngineParts
from app.delivery.lane import Lane
from app.delivery.lane_config import LaneConfigFactory
from app.delivery.lane_state import LaneEvent
from app.domain.errors import SealError, Unavailable
from app.store import key_rotation as resealing
from app.store.delivery import lane_health, shared_limits
from app.store.delivery.lanes import WaitingLane
from app.store.profiles import queries as profiles

log = logging.getLogger(__name__)

CHECK_EVERY: Final = timedelta(seconds=1)


class LaneRegistry:
    """Maps each profile to its lane, if it has one in this worker."""

    def __init__(self, parts: EngineParts, configs: LaneConfigFactory) -> None:
        self.lanes: dict[str, Lane] = {}
        self._parts = parts
        self._configs = configs

    def read_versions(self) -> dict[str, int]:
        """Return each lane's version, which `apply_poll` compares after the database was read."""
        return {profile_id: lane.machine.version for profile_id, lane in self.lanes.items()}

    def apply_poll(
        self, waiting: Iterable[WaitingLane], now: datetime, versions: Mapping[str, int]
    ) -> None:
        """Apply a poll's result to lanes that have met no event since it began."""
        due_by_profile = {due.profile_id: due for due in waiting}
        for profile_id, lane in self.lanes.items():
            if lane.machine.version == versions[profile_id]:
                due = due_by_profile.get(profile_id)
                lane.machine.apply(_poll_event(due, now))
                if due is not None:
                    lane.note_stall(is_stalled=due.is_stalled)

    async def close_unused(self, waiting: Iterable[WaitingLane]) -> None:
        """Return messages of paused or deleted profiles; close idle lanes."""
        for due in waiting:
            lane = self.lanes.get(due.profile_id)
            if not due.is_open and lane is not None:
                await self._parts.leases.give_back(lane.drop_queue())
        working = {due.profile_id for due in waiting}
        for profile_id, lane in list(self.lanes.items()):
            if lane.is_idle and profile_id not in working:
                del self.lanes[profile_id]
                if self._parts.database.is_postgresql:
                    await self._return_connections(profile_id)

    async def revoke_connections(self) -> None:
        """Take all connections from the lanes, since other workers may have them now.

        What waits in the lanes returns to the queue: they claim it with the connections.
        """
        for lane in self.lanes.values():
            lane.limit.revoke()
        await self._parts.leases.give_back(
            [message_id for lane in self.lanes.values() for message_id in lane.drop_queue()]
        )

    async def _return_connections(self, profile_id: str) -> None:
        async with self._parts.database.transaction() as connection:
            await shared_limits.return_connections(
                connection, worker_id=self._parts.leases.owner, profile_id=profile_id
            )

    async def open(self, waiting: Iterable[WaitingLane]) -> dict[str, Lane]:
        """Return the profiles' lanes at their current revisions; skips deleted profiles."""
        current, changed = dict[str, Lane](), list[WaitingLane]()
        for due in waiting:
            lane = self.lanes.get(due.profile_id)
            if lane is not None and lane.config.profile.revision == due.revision:
                current[due.profile_id] = lane
            else:
                changed.append(due)
        if not changed:
            return current
        async with self._parts.database.reading() as connection:
            ids = [due.profile_id for due in changed]
            by_id = await profiles.load_many_for_delivery(connection, profile_ids=ids)
        for due in changed:
            if (profile := by_id.get(due.profile_id)) is not None:
                current[due.profile_id] = await self._configure(due, profile)
        return current

    async def _configure(self, due: WaitingLane, profile: profiles.DeliveryProfile) -> Lane:
        """Return the lane at a new revision."""
        config = self._configs.make_config(profile)
        if self._configs.is_stale(profile):
            await self._reseal(due)
        lane = self.lanes.get(due.profile_id)
        if lane is not None:
            lane.reconfigure(config)
            return lane
        # On PostgreSQL, workers share connections, so the lane has to claim some first.
        granted = 0 if self._parts.database.is_postgresql else config.profile.max_connections
        lane = self.lanes[due.profile_id] = Lane(config, self._parts, granted=granted)
        return lane

    async def _reseal(self, due: WaitingLane) -> None:
        """Encrypt credentials in use with the newest key; log those that do not open."""
        try:
            async with self._parts.database.transaction() as connection:
                await resealing.reseal_profile(
                    connection,
                    self._configs.vault,
                    tenant_id=due.tenant_id,
                    profile_id=due.profile_id,
                )
        except (SealError, Unavailable) as error:
            log.warning("credentials still encrypted with an older key: %s", error)


def _poll_event(due: WaitingLane | None, now: datetime) -> LaneEvent:
    if due is None:
        return LaneEvent.POLLED_EMPTY
    if due.is_failing or not due.is_open:
        return LaneEvent.POLLED_BLOCKED
    return LaneEvent.POLLED_DUE if due.due_at <= now else LaneEvent.POLLED_EMPTY


class StallMonitor:
    """Watches the lanes of one worker.

    If all connections of a lane have waited long for their server, the lane may open one more. If
    the server is down, this connection fails, and so the profile. If the server has only lost the
    old connections, it accepts mail on the new one. Only one worker opens it.
    """

    def __init__(self, parts: EngineParts, registry: LaneRegistry) -> None:
        self._parts = parts
        self._lanes = registry.lanes
        self._no_event = asyncio.Event()
        self._recorded: WeakSet[Lane] = WeakSet()

    async def check_stalls(self) -> None:
        """Record which servers have fallen silent or answer again, then wait for the next turn."""
        for lane in list(self._lanes.values()):
            if lane.is_stalled:
                if lane not in self._recorded:
                    await self._record_stall(lane)
            else:
                self._recorded.discard(lane)
                lane.limit.has_extra = False
                if lane.is_stall_over:
                    await self._record_end(lane)
        await self._parts.clock.wait(self._no_event, self._parts.clock.now() + CHECK_EVERY)

    async def _record_stall(self, lane: Lane) -> None:
        async with self._parts.database.transaction() as connection:
            is_first = await lane_health.record_stall(
                connection,
                profile_id=lane.profile_id,
                reason=lane.stall_reason,
                now=self._parts.clock.now(),
            )
        self._recorded.add(lane)
        lane.note_stall(is_stalled=True)
        if is_first:
            lane.add_connection()

    async def _record_end(self, lane: Lane) -> None:
        async with self._parts.database.transaction() as connection:
            await lane_health.record_stall_end(
                connection, profile_id=lane.profile_id, now=self._parts.clock.now()
            )
        lane.note_stall(is_stalled=False)
