"""Detect servers that are silent on all connections, and probe them."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Final
from weakref import WeakSet

from app.delivery.lane import Lane
from app.domain.clock import Clock
from app.store.db.engine import Database
from app.store.delivery import lanes

LOOK_EVERY: Final = timedelta(seconds=1)


class Stalls:
    """Looks after the lanes of one worker.

    While each connection of a lane has waited for its server for long, the lane may have one more:
    a server that is away fails it, and the profile with it, and one that has lost its former
    connections takes mail by the new one. Of several workers one alone opens it.
    """

    def __init__(
        self, database: Database, lanes_by_profile: Mapping[str, Lane], *, clock: Clock
    ) -> None:
        self._database = database
        self._lanes = lanes_by_profile
        self._clock = clock
        self._never = asyncio.Event()
        self._noted: WeakSet[Lane] = WeakSet()

    async def look(self) -> None:
        """Record silent and recovered servers, then wait for the next check."""
        for lane in list(self._lanes.values()):
            if not lane.is_stalled:
                self._noted.discard(lane)
                lane.has_extra = False
                if lane.is_known_stalled and lane.is_heard:
                    await self._end(lane)
            elif lane not in self._noted:
                await self._stall(lane)
        await self._clock.wait(self._never, self._clock.now() + LOOK_EVERY)

    async def _stall(self, lane: Lane) -> None:
        async with self._database.transaction() as connection:
            is_first = await lanes.stall(
                connection,
                profile_id=lane.profile_id,
                reason=lane.silence,
                now=self._clock.now(),
            )
        self._noted.add(lane)
        lane.note_stall(is_stalled=True)
        if is_first:
            lane.try_once_more()

    async def _end(self, lane: Lane) -> None:
        async with self._database.transaction() as connection:
            await lanes.end_stall(connection, profile_id=lane.profile_id, now=self._clock.now())
        lane.is_known_stalled = False
