"""Run the delivery engine: claims, lanes, leases and settling."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy.ext.asyncio import AsyncConnection

from app.delivery.attempt import Attempts
from app.delivery.claims import Claims, LaneParts
from app.delivery.handover import Handover
from app.delivery.lane import Lane
from app.delivery.lane_config import ConfigMaker
from app.delivery.leases import Leases
from app.delivery.maintenance import Measure, Upkeep
from app.delivery.record import Recorder
from app.delivery.settle import Settled, Settler, Trip, settlement
from app.delivery.stalls import Stalls
from app.domain.clock import Clock
from app.domain.delivery.metrics import Facts
from app.domain.delivery.retry import Random
from app.domain.errors import Unavailable
from app.domain.ids import new_id
from app.domain.outcome.hints import reason
from app.domain.outcome.outcome import Outcome
from app.domain.tenants.retention import Retention
from app.smtp.resolve import Network
from app.store.db.engine import Database
from app.store.db.retry_loop import repeat
from app.store.outbox import results as outcomes
from app.store.outbox.queries import ClaimedMessage
from app.store.outbox.results import Settlement

log = logging.getLogger(__name__)

# What is known must be written before the end, whatever the grace for transmissions was.
LAST_WRITES_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How an engine works: whom it may speak to and as whom, its machine's name, its times."""

    network: Network
    configs: ConfigMaker
    machine: str
    transcript_retention: timedelta
    audit_retention: timedelta
    retention: Retention
    lease_seconds: float
    poll_interval_seconds: float
    shutdown_grace_seconds: float


class Engine:
    """Delivers what is due in one database, with a lane for each profile that has work.

    `measure` sets `clock` by the database's: before the first claim, and before each renewal of the
    leases. What is due is due by the database's own time then. Without it `clock` is right.
    """

    def __init__(
        self,
        database: Database,
        config: EngineConfig,
        *,
        clock: Clock,
        random: Random,
        facts: Facts,
        measure: Measure | None = None,
    ) -> None:
        self.worker_id = new_id("wrk")
        self._database = database
        self._grace_seconds = config.shutdown_grace_seconds
        self._clock = clock
        self._measure = measure
        self._is_time_known = False
        self._random = random
        self._facts = facts
        self._known: WeakKeyDictionary[Lane, int | None] = WeakKeyDictionary()
        self._leases = Leases(
            database,
            owner=self.worker_id,
            length=timedelta(seconds=config.lease_seconds),
            now=clock.now,
        )
        self._settler = Settler(
            database,
            owner=self.worker_id,
            now=clock.now,
            random=random,
            facts=facts,
            on_settled=self._on_settled,
        )
        self._claims = Claims(
            database,
            LaneParts(
                network=config.network,
                configs=config.configs,
                recorder=Recorder(
                    worker=self.worker_id,
                    now=clock.now,
                    keeps_transcripts=bool(config.transcript_retention),
                ),
                results=self,
                facts=facts,
            ),
            leases=self._leases,
            clock=clock,
            poll_interval=timedelta(seconds=config.poll_interval_seconds),
            is_backed_up=lambda: self._settler.is_full,
            is_checked=measure is not None,
        )
        self._stalls = Stalls(database, self._claims.lanes, clock=clock)
        self.handover = Handover(self._claims, leases=self._leases, clock=clock, facts=facts)
        self._upkeep = Upkeep(
            database,
            leases=self._leases,
            clock=clock,
            machine=config.machine,
            sweep_interval=timedelta(seconds=config.poll_interval_seconds),
            transcript_retention=config.transcript_retention,
            audit_retention=config.audit_retention,
            retention=config.retention,
            measure=measure,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver while the block runs; when it ends, finish what is being transmitted.

        Any number of engines may run on PostgreSQL, and one on SQLite: raises SettingsError where
        the file is another process's to deliver from.
        """
        with self._database.sole_delivery() as is_sole:
            if is_sole:
                await self._upkeep.take_over()
            async with self._database.listening(self._claims.wake.set):
                upkeep = self._upkeep
                steps = (
                    upkeep.renew,
                    upkeep.clamp,
                    upkeep.sweep,
                    upkeep.forget,
                    upkeep.purge,
                    self._stalls.look,
                )
                duties = [
                    asyncio.create_task(repeat(step, "delivery"), name=step.__name__)
                    for step in steps
                ]
                duties.append(asyncio.create_task(self._settler.run(), name="settler"))
                claiming = asyncio.create_task(
                    repeat(self._look, "delivery", self._claims.is_over), name="claims"
                )
                log.info("delivery started", extra={"worker": self.worker_id})
                try:
                    yield
                finally:
                    try:
                        await self._drain(claiming)
                    finally:
                        await _cancel([claiming, *duties])
                    log.info("delivery stopped", extra={"worker": self.worker_id})

    async def _look(self) -> None:
        """Look for work; before the first time, what time it is."""
        if self._measure is not None and not self._is_time_known:
            await self._measure()
            self._is_time_known = True
        await self._claims.look()

    async def _drain(self, claiming: asyncio.Task[None]) -> None:
        """Finish within the grace time, break off the rest, write what is known, give back."""
        self._claims.stop()
        await asyncio.wait([claiming], timeout=LAST_WRITES_SECONDS)
        lanes = list(self._claims.lanes.values())
        await self._claims.give_back([each for lane in lanes for each in lane.drop_queue()])
        try:
            async with asyncio.timeout(self._grace_seconds):
                await asyncio.gather(*(lane.wait_idle() for lane in lanes))
        except TimeoutError:
            log.warning("aborting transmissions that outlast the grace period")
        await asyncio.gather(*(lane.close() for lane in lanes))
        try:
            async with asyncio.timeout(LAST_WRITES_SECONDS):
                await self._claims.wait_returned()
                await self._settler.wait_empty()
                await self._upkeep.leave()
        except (Unavailable, TimeoutError):
            log.warning("database unavailable: %d leases will expire", len(self._leases))

    def may_begin(self, message: ClaimedMessage) -> bool:
        """Whether the message's lease still holds."""
        return self._leases.holds(message.id)

    async def mark(self, message: ClaimedMessage, positions: Sequence[int]) -> bool:
        """Write down that the body is about to go out; False where that was not to be had."""

        async def write(connection: AsyncConnection) -> bool:
            return await outcomes.mark(
                connection,
                owner=self.worker_id,
                message_id=message.id,
                positions=positions,
                now=self._clock.now(),
            )

        try:
            return await self._database.repeated(write)
        except Unavailable:
            return False

    def settle(self, lane: Lane, attempts: Attempts) -> None:
        """The message is done with, for now; a probe that came so far has healed its lane."""
        heals = None
        if attempts.message.id == lane.probe:
            lane.probe = None
            # A recipient may be decided without a word to the server.
            was_asked = attempts.facts.host is not None
            heals = lane.profile_id if attempts.outcomes and was_asked else None
        if heals is not None:
            log.info("profile recovered", extra={"profile_id": heals})
        self._settler.submit(
            Settled(
                settlement=self._settlement(lane, attempts),
                heals=heals,
                learnt=self._learnt(lane),
            )
        )

    def trip(self, lane: Lane, attempts: Attempts, fault: Outcome) -> None:
        """The profile is at fault: nothing more is tried until its next probe."""
        facts, profile = attempts.facts, lane.config.profile
        text = reason(fault, ehlo_name=facts.ehlo_name, ehlo_source=facts.ehlo_source)
        log.warning("profile failing: %s", text, extra={"profile_id": profile.id})
        trip = Trip(
            profile_id=profile.id,
            revision=attempts.revision,
            code=fault.classification,
            reason=text,
            is_probe=attempts.message.id == lane.probe,
            released=tuple(lane.drop_queue()),
        )
        lane.probe, lane.is_halted = None, True
        lane.is_direct, lane.has_failed = False, True
        self._settler.submit(
            Settled(
                settlement=self._settlement(lane, attempts), trip=trip, learnt=self._learnt(lane)
            )
        )

    def _learnt(self, lane: Lane) -> tuple[str, int | None] | None:
        """How many connections the server takes, where that is news."""
        if self._known.get(lane, lane.config.concurrency) == lane.concurrency:
            return None
        self._known[lane] = lane.concurrency
        return lane.profile_id, lane.concurrency

    def connections(self) -> tuple[int, int]:
        """How many SMTP connections are in use, and how many are kept warm."""
        lanes = self._claims.lanes.values()
        return sum(lane.busy for lane in lanes), sum(lane.warm for lane in lanes)

    def room(self, lane: Lane) -> None:
        """A lane can take more, which is of interest where more is waiting."""
        if not lane.is_direct:
            self._claims.wake.set()

    def _settlement(self, lane: Lane, attempts: Attempts) -> Settlement:
        self._facts.outcomes(attempts.outcomes.values())
        for row in attempts.rows:
            self._facts.attempt(row)
        return settlement(
            attempts,
            retry=lane.config.profile.retry,
            now=self._clock.now(),
            random=self._random,
        )

    def _on_settled(self, group: Sequence[Settled]) -> None:
        self._leases.drop(each.settlement.message_id for each in group)
        for trip in (each.trip for each in group if each.trip is not None):
            self._leases.drop(trip.released)
            if (lane := self._claims.lanes.get(trip.profile_id)) is not None:
                lane.is_halted = lane.is_direct = False
        if any(each.settlement.due_at is not None or each.heals for each in group):
            self._claims.wake.set()


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
