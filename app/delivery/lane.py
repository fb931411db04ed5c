"""One profile's lane: its slots, its sessions, and the messages it has in hand."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Protocol

from app.delivery.attempt import Attempts, transact
from app.delivery.judgement import Judgement
from app.delivery.lane_config import LaneConfig
from app.delivery.record import Recorder
from app.domain.clock import monotonic_seconds
from app.domain.concurrency import Concurrency, is_throttling
from app.domain.failure_table import classify
from app.domain.outcome import Blast, Outcome, Stage, Verdict
from app.domain.replies import COMPLETED, Reply
from app.domain.types import Transport
from app.smtp.identity import ConnectionFacts, Identity
from app.smtp.opening import NotOpened, open_session
from app.smtp.pool import Pool
from app.smtp.resolve import AddressGuard
from app.smtp.session import Session
from app.store.outbox import ClaimedMessage

log = logging.getLogger(__name__)

# So many messages are claimed for each connection: enough that none waits for the database,
# few enough that another replica finds some too.
CLAIMS_PER_CONNECTION: Final = 20
MAX_QUEUED_BYTES: Final = 16 * 1024 * 1024

CAPTURED: Final = Outcome(
    Stage.DOT,
    Verdict.DELIVERED,
    "captured",
    reply=Reply(COMPLETED, "captured by the sandbox, sent nowhere", "2.0.0"),
)
BROKEN: Final = Outcome(
    Stage.MAIL, Verdict.DEFER, "internal_error", blast=Blast.MESSAGE, detail="see the service's log"
)


class Results(Protocol):
    """Where a lane's results go, and who knows which messages are still its own."""

    def may_begin(self, message: ClaimedMessage) -> bool:
        """Whether the message's lease still holds."""
        ...

    async def mark(self, message: ClaimedMessage, positions: Sequence[int]) -> bool:
        """Whether it is written down that the body is about to go out to these recipients."""
        ...

    def settle(self, lane: "Lane", attempts: Attempts) -> None:
        """The message is done with, for now."""
        ...

    def trip(self, lane: "Lane", attempts: Attempts, fault: Outcome) -> None:
        """The profile is at fault: nothing more is to be tried now."""
        ...

    def room(self) -> None:
        """The lane can take more."""
        ...


class Lane:
    """Delivers one profile's messages through at most `max_connections` sessions at a time.

    `probe`: the one message in hand by which it finds out whether the profile's fault is over.
    `is_halted`: a fault was found that is not written down yet, so nothing may be begun.
    """

    def __init__(
        self,
        config: LaneConfig,
        *,
        guard: AddressGuard,
        recorder: Recorder,
        results: Results,
    ) -> None:
        self.config = config
        self.probe: str | None = None
        self.is_halted = False
        self._guard = guard
        self._recorder = recorder
        self._results = results
        self.granted = config.profile.max_connections
        self._concurrency = _known(config)
        self._pool = Pool(max_messages=config.profile.max_messages_per_connection)
        self._queue: deque[ClaimedMessage] = deque()
        self._slots: set[asyncio.Task[None]] = set()

    @property
    def profile_id(self) -> str:
        return self.config.profile.id

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in hand, not even a warm connection."""
        return not self._slots and not self._queue and not self._pool.has_sessions

    @property
    def busy(self) -> int:
        """How many slots are at work."""
        return len(self._slots)

    @property
    def warm(self) -> int:
        """How many connections are kept for the next message."""
        return self._pool.idle

    def reconfigure(self, config: LaneConfig) -> None:
        """Work by a newer revision from the next message on (invariant 8)."""
        if config.identity != self.config.identity:
            self._pool.retire_idle()
        self.config = config
        self.granted = min(self.granted, config.profile.max_connections)
        self._concurrency = self._concurrency.within(config.profile.max_connections)
        self._pool.max_messages = config.profile.max_messages_per_connection

    @property
    def connections(self) -> int:
        """How many connections it may have now: granted to this worker, and taken by the server."""
        return min(self.granted, self._concurrency.limit)

    @property
    def concurrency(self) -> int | None:
        """What the server was found to take, where that is less than the profile allows."""
        found = self._concurrency
        return found.limit if found.limit < found.most else None

    @property
    def capacity(self) -> int:
        """How many messages it has in hand at the most."""
        return self.connections * CLAIMS_PER_CONNECTION

    @property
    def room(self) -> int:
        """How many messages it could take now."""
        if self.probe is not None or self.is_halted or self.room_bytes == 0:
            return 0
        return max(0, self.capacity - len(self._queue) - len(self._slots))

    @property
    def may_ask(self) -> bool:
        """Whether it has room, or would have if it were granted a connection."""
        return self.room > 0 or (self.granted == 0 and not self.is_halted and self.probe is None)

    @property
    def room_bytes(self) -> int:
        """How many bytes of messages could wait in it besides those that do."""
        return max(0, MAX_QUEUED_BYTES - sum(len(each.mime) for each in self._queue))

    def take(self, messages: Iterable[ClaimedMessage]) -> None:
        """Begin on claimed messages."""
        self._queue.extend(messages)
        self._pool.shrink(max(0, self.connections - len(self._slots)))
        self._start_slots()

    def _start_slots(self) -> None:
        wanted = min(len(self._queue), self.connections - len(self._slots))
        for _ in range(wanted):
            task = asyncio.create_task(self._run_slot(), name=f"slot of {self.profile_id}")
            self._slots.add(task)
            task.add_done_callback(self._slot_ended)

    def _slot_ended(self, task: asyncio.Task[None]) -> None:
        self._slots.discard(task)
        if not self._slots and not self._queue:
            self.probe = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a slot of %s broke", self.profile_id, exc_info=error)
        if not task.cancelled():
            # Of slots that are too many now, all that end at one moment leave: also the last.
            self._start_slots()
        self._results.room()

    def drop_queue(self) -> list[str]:
        """Forget the messages not yet begun; answers their ids."""
        dropped = [message.id for message in self._queue]
        self._queue.clear()
        return dropped

    async def _run_slot(self) -> None:
        session: Session | None = None
        try:
            while self._queue and len(self._slots) <= self.connections:
                message = self._queue.popleft()
                if not self._results.may_begin(message):
                    # Given back as it is, if it is still ours: else it would be renewed for ever.
                    self._results.settle(self, Attempts(message))
                    continue
                via = self.profile_id if message.profile_id != self.profile_id else None
                session = await self._deliver(Attempts(message, via=via), session)
                if len(self._queue) * 2 < self.capacity:
                    self._results.room()
        except BaseException:
            if session is not None:
                session.abort()
            raise
        if session is not None:
            self._pool.keep(session)

    async def _deliver(self, attempts: Attempts, session: Session | None) -> Session | None:
        """Work on one message; answers the session, where it may carry another."""
        try:
            session = await self._attempt(attempts, session)
        except asyncio.CancelledError:
            self._results.settle(self, attempts)
            raise
        except Exception:
            log.exception("delivery of %s broke", attempts.message.id)
            self._decide_all(attempts, BROKEN)
            attempts.fault = None
        self._learn(attempts)
        if attempts.fault is None:
            self._results.settle(self, attempts)
        else:
            self._results.trip(self, attempts, attempts.fault)
        return session

    def _learn(self, attempts: Attempts) -> None:
        """Adapt to how the server took the message."""
        outcomes = [*attempts.outcomes.values(), *filter(None, [attempts.fault])]
        if any(is_throttling(each) for each in outcomes):
            self._concurrency = self._concurrency.throttled()
        elif any(each.verdict is Verdict.DELIVERED for each in outcomes):
            self._concurrency = self._concurrency.succeeded(attempts.seconds)

    async def _attempt(self, attempts: Attempts, session: Session | None) -> Session | None:
        config = self.config
        if config.profile.transport is Transport.SANDBOX:
            self._capture(attempts)
            return None
        if config.identity is None:
            attempts.fault = config.fault
            return session
        while True:
            session = await self._session(attempts, config.identity, session)
            if session is None:
                return None
            attempts.facts = session.facts
            await transact(attempts, session, self._recorder, self._results.mark)
            # The connection alone was at fault, and an idle one at that: a new one, at once.
            if attempts.fault is None or attempts.fault.blast is not Blast.CONNECTION:
                return session if session.is_open else None

    async def _session(
        self, attempts: Attempts, identity: Identity, session: Session | None
    ) -> Session | None:
        """A session fit for the message: the one in hand, a warm one, or a new one."""
        if session is not None and self._pool.is_fit(session, identity):
            return session
        if session is not None:
            self._pool.retire(session)
        if (warm := await self._pool.take(identity)) is not None:
            return warm
        started_at, start = self._recorder.now(), monotonic_seconds()
        opened = await open_session(identity, self._guard)
        if isinstance(opened, Session):
            return opened
        self._note_not_opened(attempts, opened, started_at, monotonic_seconds() - start)
        return None

    def _note_not_opened(
        self, attempts: Attempts, opened: NotOpened, started_at: datetime, seconds: float
    ) -> None:
        fault = classify(opened.failure, fresh=True, authenticated=False)
        attempts.fault, attempts.facts = fault, opened.facts
        row = self._recorder.row(
            attempts.message,
            opened.facts,
            Judgement(outcomes={}, fault=fault),
            started_at=started_at,
            seconds=seconds,
            via=attempts.via,
        )
        attempts.rows.append(row)

    def _capture(self, attempts: Attempts) -> None:
        pending = attempts.undecided(self._recorder.now())
        self._decide_all(attempts, CAPTURED)
        judgement = Judgement(outcomes={each.address: CAPTURED for each in pending})
        attempts.rows.append(
            self._recorder.row(
                attempts.message,
                ConnectionFacts(),
                judgement,
                started_at=self._recorder.now(),
                seconds=0.0,
                via=attempts.via,
            )
        )

    def _decide_all(self, attempts: Attempts, outcome: Outcome) -> None:
        for each in attempts.undecided(self._recorder.now()):
            if each.position not in attempts.marked:
                attempts.outcomes[each.position] = outcome

    async def wait_idle(self) -> None:
        """Return once nothing is being transmitted."""
        while self._slots:
            await asyncio.wait(self._slots)

    async def close(self) -> None:
        """Break off what is at work, and close every session."""
        for task in self._slots:
            task.cancel()
        await self.wait_idle()
        await self._pool.close()


def _known(config: LaneConfig) -> Concurrency:
    """What this or another worker has found out about the server before."""
    most = config.profile.max_connections
    return Concurrency(most=most, limit=min(most, config.concurrency or most))
