"""Run the delivery engine: claims, lanes, leases and settling."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

from app.delivery.engine_parts import EngineConfig, EngineParts, SyncClock
from app.delivery.handover import Handover
from app.delivery.leases import Leases
from app.delivery.liveness import Liveness
from app.delivery.mail_exchangers import MailExchangers
from app.delivery.maintenance import Maintenance
from app.delivery.record import Recorder
from app.delivery.registry import LaneRegistry, StallMonitor
from app.delivery.scheduler import Scheduler
from app.delivery.settler import Settler
from app.domain.clock import Clock, monotonic_seconds
from app.domain.delivery.due_ranges import DueRanges
from app.domain.delivery.metrics import DeliveryMetrics
from app.domain.delivery.retry import Random
from app.domain.errors import Unavailable
from app.domain.ids import new_id
from app.store.db.database import Database
from app.store.db.retry_loop import run_until_stopped

log = logging.getLogger(__name__)

# Known outcomes must be written before the end, even if the grace time is short.
LAST_WRITES_SECONDS: Final = 10.0


class Engine:
    """Delivers what is due in one database, with a lane per profile.

    Calls `sync_clock` before the first claim and before every renewal of leases.
    """

    def __init__(
        self,
        database: Database,
        config: EngineConfig,
        *,
        clock: Clock,
        random: Random,
        metrics: DeliveryMetrics,
        sync_clock: SyncClock | None = None,
    ) -> None:
        self.worker_id = new_id("wrk")
        self._grace_seconds = config.shutdown_grace_seconds
        self._is_clock_synced = sync_clock is None
        wake, due_ranges = asyncio.Event(), DueRanges()
        leases = Leases(
            database,
            owner=self.worker_id,
            length=config.lease,
            now=clock.now,
            note_freed=due_ranges.note_freed,
        )
        self._parts = EngineParts(
            database=database,
            network=config.network,
            clock=clock,
            metrics=metrics,
            leases=leases,
            recorder=Recorder(
                worker=self.worker_id,
                now=clock.now,
                keeps_transcripts=bool(config.transcript_retention),
                keeps_delivered=config.keeps_delivered_transcripts,
            ),
            settler=Settler(
                database, leases=leases, wake=wake, now=clock.now, random=random, metrics=metrics
            ),
            wake=wake,
            mail_exchangers=MailExchangers(config.network.resolver, monotonic_seconds),
            open_content=config.configs.vault.open_content,
            sync_clock=sync_clock,
            due_ranges=due_ranges,
        )
        self._registry = LaneRegistry(self._parts, config.configs)
        self._scheduler = Scheduler(self._parts, self._registry, config.poll_interval)
        self._stalls = StallMonitor(self._parts, self._registry)
        self.handover = Handover(self._parts, self._registry)
        self._liveness = Liveness(
            database,
            leases=leases,
            clock=clock,
            machine=config.machine,
            revoke=self._registry.revoke_connections,
        )
        self._maintenance = Maintenance(parts=self._parts, config=config, liveness=self._liveness)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver while the block runs; then finish the transmissions in progress.

        Any number of engines may run on PostgreSQL, and one on SQLite: raises SettingsError if
        another process delivers from the file.
        """
        with self._parts.database.lock_delivery() as is_sole:
            if is_sole:
                await self._maintenance.take_over()
            async with (
                aclosing(self._liveness),
                self._parts.database.listening(self._parts.wake.set, self._liveness),
            ):
                duties = [
                    _start_duty(duty)
                    for duty in (*self._maintenance.duties, self._stalls.check_stalls)
                ]
                duties.append(asyncio.create_task(self._parts.settler.run(), name="settler"))
                claiming = _start_duty(self._claim_due, lambda: self._scheduler.is_stopping)
                log.info("delivery started", extra={"worker": self.worker_id})
                try:
                    yield
                finally:
                    try:
                        await self._drain(claiming)
                    finally:
                        await _cancel([claiming, *duties])
                    log.info("delivery stopped", extra={"worker": self.worker_id})

    async def _claim_due(self) -> None:
        """Claim due messages; synchronize the clock before the first claim."""
        if self._parts.sync_clock is not None and not self._is_clock_synced:
            await self._parts.sync_clock()
            self._is_clock_synced = True
        await self._scheduler.claim_due()

    async def _drain(self, claiming: asyncio.Task[None]) -> None:
        """Finish within the grace time, abort the rest, write outcomes, release leases."""
        self._scheduler.stop()
        self.handover.stop()
        await asyncio.wait([claiming], timeout=LAST_WRITES_SECONDS)
        lanes = list(self._registry.lanes.values())
        await self._parts.leases.give_back(
            [message_id for lane in lanes for message_id in lane.drop_queue()]
        )
        try:
            async with asyncio.timeout(self._grace_seconds):
                await asyncio.gather(*(lane.wait_idle() for lane in lanes))
        except TimeoutError:
            log.warning("aborting transmissions that outlast the grace period")
        await asyncio.gather(*(lane.close() for lane in lanes), self._parts.mail_exchangers.close())
        try:
            async with asyncio.timeout(LAST_WRITES_SECONDS):
                await self.handover.wait_returned()
                await self._parts.settler.wait_empty()
                await self._parts.leases.release_all()
                await self._liveness.deregister()
        except (Unavailable, TimeoutError):
            log.warning("database unavailable: %d leases will expire", len(self._parts.leases))

    def count_connections(self) -> tuple[int, int]:
        """Count the SMTP connections in use, and those kept warm."""
        lanes = self._registry.lanes.values()
        return sum(lane.busy for lane in lanes), sum(lane.warm for lane in lanes)

    def count_lanes(self) -> Counter[str]:
        """Count the lanes by state."""
        return Counter(lane.machine.state.value for lane in self._registry.lanes.values())


def _start_duty(
    duty: Callable[[], Awaitable[None]], is_over: Callable[[], bool] = lambda: False
) -> asyncio.Task[None]:
    return asyncio.create_task(run_until_stopped(duty, "delivery", is_over), name=duty.__name__)


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
