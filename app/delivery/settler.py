"""Write outcomes to the database, many in one transaction."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app import tracing
from app.delivery.attempt import Attempts
from app.delivery.lane_state import LaneEvent, LaneMachine
from app.delivery.leases import Leases
from app.delivery.recipient_update import build_settlement
from app.domain.delivery.metrics import DeliveryMetrics
from app.domain.delivery.retry import PROBE, Random
from app.domain.errors import Unavailable
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.types import Guarantee, Profile, RecipientStatus
from app.store.db.database import Database
from app.store.db.errors import RolledBack
from app.store.delivery import lane_health
from app.store.outbox import leases as outbox
from app.store.outbox import results as outcomes
from app.store.outbox.claims import ClaimedMessage
from app.store.outbox.results import Settlement

log = logging.getLogger(__name__)

MAX_GROUP: Final = 200
RETRY_SECONDS: Final = 1.0
# Bounds the memory of a worker that cannot write, together with the lanes' messages.
MAX_WAITING: Final = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileFault:
    """A profile's fault, and the messages that its lane gives back untouched.

    `machine` is the lane's: it moves on once the fault is recorded.
    """

    profile_id: str
    revision: int
    code: str
    reason: str
    is_probe: bool
    released: tuple[str, ...]
    machine: LaneMachine


@frozen_dataclass(kw_only=True)
class PendingSettlement:
    """One settlement on its way to the database.

    `fault` is what stopped the work, `recovered_profile_id` names a profile whose probe succeeded.
    `observed_concurrency` is a profile, and how many connections its server takes (None: all).
    `traceparent` is the message's.
    """

    settlement: Settlement
    traceparent: str | None = None
    fault: ProfileFault | None = None
    recovered_profile_id: str | None = None
    observed_concurrency: tuple[str, int | None] | None = None


@dataclass(slots=True, eq=False, repr=False)
class Settler:
    """Writes outcomes, and takes their messages off the leases.

    `waiting` counts the outcomes that are not written yet. Sets `wake` once something may be due.
    """

    database: Database
    _: KW_ONLY
    leases: Leases
    wake: asyncio.Event
    now: Callable[[], datetime]
    random: Random
    metrics: DeliveryMetrics
    waiting: int = 0
    _queue: asyncio.Queue[PendingSettlement] = field(default_factory=asyncio.Queue)

    def submit(
        self,
        attempts: Attempts,
        profile: Profile,
        *,
        fault: ProfileFault | None = None,
        recovered_profile_id: str | None = None,
        observed_concurrency: tuple[str, int | None] | None = None,
    ) -> None:
        """Queue the results of a message, which stays leased until they are written.

        `profile` is the one that sent it.
        """
        self.metrics.record_outcomes(attempts.outcomes.values())
        for row in attempts.rows:
            self.metrics.record_attempt(row, profile.name)
            tracing.record_attempt(row, profile.name)
        now = self.now()
        settlement = build_settlement(attempts, retry=profile.retry, now=now, random=self.random)
        self._count_recipients(attempts.message, settlement, now)
        self.waiting += 1
        self._queue.put_nowait(
            PendingSettlement(
                settlement=settlement,
                traceparent=attempts.message.traceparent,
                fault=fault,
                recovered_profile_id=recovered_profile_id,
                observed_concurrency=observed_concurrency,
            )
        )

    def _count_recipients(
        self, message: ClaimedMessage, settlement: Settlement, now: datetime
    ) -> None:
        statuses = [recipient.status for recipient in settlement.recipients]
        profile = (message.tenant_id, message.profile_id)
        if sent_count := statuses.count(RecipientStatus.SENT):
            self.metrics.record_sent(*profile, now - message.sendable_at, sent_count)
        if deferred_count := statuses.count(RecipientStatus.DEFERRED):
            self.metrics.record_retries(*profile, deferred_count)

    async def allow_body(self, message: ClaimedMessage, positions: Sequence[int]) -> bool:
        """Whether the body may be sent: this worker still holds the lease (invariant 3).

        With `at_most_once`, records first that the body is about to be sent to the recipients at
        these positions (invariant 5).
        """
        if not await self.leases.confirm(message):
            return False
        if message.guarantee is not Guarantee.AT_MOST_ONCE:
            return True

        async def write(connection: AsyncConnection) -> bool:
            return await outcomes.mark(
                connection,
                owner=self.leases.owner,
                message_id=message.id,
                positions=positions,
                now=self.now(),
            )

        try:
            return await self.database.retry_transaction(write)
        except Unavailable:
            return False

    @property
    def is_full(self) -> bool:
        """Whether too many outcomes wait to start new messages."""
        return self.waiting >= MAX_WAITING

    async def run(self) -> None:
        """Write outcomes until cancelled."""
        while True:
            group = [await self._queue.get()]
            while len(group) < MAX_GROUP and not self._queue.empty():
                group.append(self._queue.get_nowait())
            await self._write(group)
            self.waiting -= len(group)
            for _ in group:
                self._queue.task_done()

    async def wait_empty(self) -> None:
        """Wait until everything submitted is written."""
        await self._queue.join()

    async def _write(self, group: Sequence[PendingSettlement]) -> None:
        """Write a group; retry while the database is down, so that no outcome is lost."""
        while True:
            try:
                with tracing.write_group("settle", (pending.traceparent for pending in group)):
                    await self._write_once(group)
            except RolledBack:
                continue
            except Unavailable:
                log.warning("%d outcomes wait for the database", self.waiting)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                log.exception("could not write %d outcomes", len(group))
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        self.metrics.record_group("settle", len(group))
        self._finish(group)

    def _finish(self, group: Sequence[PendingSettlement]) -> None:
        """Notify leases, lanes and the scheduler."""
        self.leases.drop(pending.settlement.message_id for pending in group)
        for pending in group:
            if pending.fault is not None:
                self.leases.drop(pending.fault.released)
                # They are due at their former places, and so is a retry that was not tried.
                self.leases.note_freed()
                pending.fault.machine.apply(LaneEvent.FAULT_RECORDED)
            if pending.settlement.due_at is not None or pending.recovered_profile_id is not None:
                self.wake.set()

    async def _write_once(self, group: Sequence[PendingSettlement]) -> None:
        recovered = {s.recovered_profile_id for s in group if s.recovered_profile_id is not None}
        async with self.database.transaction(announce=bool(recovered)) as connection:
            owned = await outcomes.settle(
                connection,
                owner=self.leases.owner,
                settlements=[pending.settlement for pending in group],
                now=self.now(),
            )
            for profile_id in recovered:
                await lane_health.record_recovery(connection, profile_id=profile_id, now=self.now())
            observed = dict(filter(None, (pending.observed_concurrency for pending in group)))
            for profile_id, concurrency in observed.items():
                await lane_health.record_concurrency(
                    connection, profile_id=profile_id, concurrency=concurrency
                )
            for pending in group:
                if pending.fault is not None:
                    await self._record_fault(connection, pending.fault)
        message_ids = [pending.settlement.message_id for pending in group]
        if lost := [message_id for message_id in message_ids if message_id not in owned]:
            log.warning("dropping outcomes of messages that another worker took over: %s", lost)

    async def _record_fault(self, connection: AsyncConnection, fault: ProfileFault) -> None:
        now = self.now()
        await lane_health.record_fault(
            connection,
            profile_id=fault.profile_id,
            revision=fault.revision,
            code=fault.code,
            reason=fault.reason,
            now=now,
            wait=lambda faults: PROBE.delay_at_least_half(faults, self.random),
            is_probe=fault.is_probe,
        )
        if fault.released:
            await outbox.release(
                connection, owner=self.leases.owner, message_ids=fault.released, now=now
            )
