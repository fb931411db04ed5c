"""Detect servers that are silent on all connections, and probe them."""

import asyncio
from datetime import timedelta
from typing import Final
from weakref import WeakSet

from app.delivery.engine_parts import EngineParts
from app.delivery.lane import Lane
from app.delivery.registry import LaneRegistry
from app.store.delivery import lanes

CHECK_EVERY: Final = timedelta(seconds=1)


class StallMonitor:
    """Watches the lanes of one worker.

    If all connections of a lane have waited long for their server, the lane may open one more. If
    the server is down, this connection fails, and so the profile. If the server has only lost the
    old connections, it accepts mail on the new one. Only one worker opens it.
    """

    def __init__(self, parts: EngineParts, registry: LaneRegistry) -> None:
        self._database = parts.database
        self._clock = parts.clock
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
                lane.drop_connection()
                if lane.is_stall_over:
                    await self._record_end(lane)
        await self._clock.wait(self._no_event, self._clock.now() + CHECK_EVERY)

    async def _record_stall(self, lane: Lane) -> None:
        async with self._database.transaction() as connection:
            is_first = await lanes.record_stall(
                connection,
                profile_id=lane.profile_id,
                reason=lane.stall_reason,
                now=self._clock.now(),
            )
        self._recorded.add(lane)
        lane.note_stall(is_stalled=True)
        if is_first:
            lane.add_connection()

    async def _record_end(self, lane: Lane) -> None:
        async with self._database.transaction() as connection:
            await lanes.record_stall_end(
                connection, profile_id=lane.profile_id, now=self._clock.now()
            )
        lane.note_stall(is_stalled=False)
