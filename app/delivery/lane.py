"""Run a profile's lane: its slots, sessions and messages."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Iterable
from functools import partial
from itertools import chain
from typing import Final

from app.delivery.attempt import Attempts
from app.delivery.engine_parts import EngineParts
from app.delivery.lane_config import LaneConfig
from app.delivery.lane_results import LaneResults
from app.delivery.lane_state import MAY_CLAIM, LaneMachine, LaneState
from app.delivery.local_connection_limit import ConnectionLimit
from app.delivery.sender import Sender
from app.domain.outcome.outcome import FailureScope, Outcome, Stage, Verdict
from app.smtp.pool import Pool
from app.smtp.protocol import Mail
from app.smtp.session import NextMail, Session
from app.store.outbox.claims import ClaimedMessage

log = logging.getLogger(__name__)

# How many messages are claimed per connection: enough that none waits for the database, few
# enough that other replicas get some too.
CLAIMS_PER_CONNECTION: Final = 20
MAX_QUEUED_BYTES: Final = 16 * 1024 * 1024
# Busy servers take up to this long to answer; after it, the server may be down.
SILENT_SECONDS: Final = 30.0

INTERNAL_ERROR: Final = Outcome(
    Stage.MAIL,
    Verdict.DEFER,
    "internal_error",
    scope=FailureScope.MESSAGE,
    detail="see the service's log",
)


class Lane:
    """Delivers one profile's messages through at most `max_connections` sessions at a time.

    `machine` says what the lane may do, `limit` how many connections it may have, `reserved` how
    many messages are being accepted for it.
    """

    def __init__(self, config: LaneConfig, parts: EngineParts, *, granted: int) -> None:
        self.config = config
        self.machine = LaneMachine()
        self.limit = ConnectionLimit(config, granted)
        self.reserved = 0
        self._parts = parts
        self._results = LaneResults(self.machine, self.limit, parts.settler)
        # The database says that the server is silent; it has answered here since.
        self._is_recorded_stalled = self._has_reply = False
        self._pool = Pool(max_messages=config.profile.max_messages_per_connection)
        self._sender = Sender(self._pool, parts)
        self._queue: deque[ClaimedMessage] = deque()
        self._ahead: list[deque[Attempts]] = []  # by slot: what it has begun besides its message
        self._slots: set[asyncio.Task[None]] = set()
        self._in_progress: dict[str, Attempts] = {}  # by message

    @property
    def profile_id(self) -> str:
        return self.config.profile.id

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in hand, not even a warm connection."""
        is_at_work = self._slots or self._queue or self.reserved
        return not is_at_work and not self._pool.has_sessions

    @property
    def busy(self) -> int:
        """The number of busy slots."""
        return len(self._slots)

    @property
    def warm(self) -> int:
        """The number of idle connections."""
        return self._pool.idle

    def reconfigure(self, config: LaneConfig) -> None:
        """Use a newer revision for the next messages (invariant 8)."""
        if config.identity != self.config.identity:
            self._pool.retire_idle()
        self.config = config
        self.limit.reconfigure(config)
        self._pool.max_messages = config.profile.max_messages_per_connection

    @property
    def has_room(self) -> bool:
        """Whether the lane can take a message now."""
        return self.count_room(self.limit.granted) > 0

    @property
    def may_ask(self) -> bool:
        """Whether the lane has room, or would have with another connection."""
        return self.machine.state in MAY_CLAIM and (self.limit.granted == 0 or self.has_room)

    def count_room(self, granted: int) -> int:
        """Count the messages that fit now, with this number of connections."""
        if self.machine.state not in MAY_CLAIM or self.room_bytes == 0:
            return 0
        in_hand = len(self._queue) + len(self._slots) + sum(map(len, self._ahead))
        capacity = self.limit.cap_connections(granted) * CLAIMS_PER_CONNECTION
        return max(0, capacity - in_hand - self.reserved)

    def may_ask_for(self, number: int) -> bool:
        """Whether the lane has room for a destination, or may be granted some."""
        granted = self.limit.granted_for.get(number)
        return not granted or self.count_room_for(number, granted) > 0

    def count_room_for(self, number: int, granted: int) -> int:
        """Count the messages to a destination that fit now, with this number of connections."""
        waiting = sum(message.limited_destination == number for message in self._queue)
        return max(0, granted * CLAIMS_PER_CONNECTION - waiting - self._count_busy(number))

    def _count_busy(self, number: int) -> int:
        """Count the messages to a destination that slots have taken."""
        begun = (*self._in_progress.values(), *chain(*self._ahead))
        return sum(attempts.message.limited_destination == number for attempts in begun)

    @property
    def room_bytes(self) -> int:
        """The bytes of messages that may still wait in the lane."""
        return max(0, MAX_QUEUED_BYTES - sum(len(message.mime) for message in self._queue))

    def take_probe(self, message: ClaimedMessage) -> None:
        """Start the message that tests whether the fault is over."""
        self._results.begin_probe(message)
        self.take([message])

    def take(self, messages: Iterable[ClaimedMessage]) -> None:
        self._queue.extend(messages)
        self._pool.shrink(max(0, self.limit.connections - len(self._slots)))
        self._start_slots()

    def drop_queue(self) -> list[str]:
        """Drop messages whose content was not sent; returns their ids."""
        dropped = [message.id for message in self._queue]
        dropped += [attempts.message.id for ahead in self._ahead for attempts in ahead]
        self._queue.clear()
        for ahead in self._ahead:
            ahead.clear()
        return dropped

    def drop_blocked(self) -> list[str]:
        """Drop messages to destinations that other workers have all connections for."""
        blocked = {number for number, granted in self.limit.granted_for.items() if granted == 0}
        dropped = [message for message in self._queue if message.limited_destination in blocked]
        for message in dropped:
            self._queue.remove(message)
        return [message.id for message in dropped]

    def _start_slots(self) -> None:
        missing = min(self._count_ready(), self.limit.slots - len(self._slots))
        for _ in range(missing):
            task = asyncio.create_task(self._run_slot(), name=f"slot of {self.profile_id}")
            self._slots.add(task)
            task.add_done_callback(self._end_slot)

    def _count_ready(self) -> int:
        """Count the waiting messages that slots could take now."""
        limits = self.limit.granted_for
        if not limits:
            return len(self._queue)
        waiting = Counter(message.limited_destination for message in self._queue)
        return sum(
            min(count, max(0, limits[number] - self._count_busy(number)))
            if number in limits
            else count
            for number, count in waiting.items()
        )

    def _pop_ready(self) -> ClaimedMessage | None:
        """Take the first waiting message whose destination has a free connection."""
        limits = self.limit.granted_for
        if not limits:
            return self._queue.popleft() if self._queue else None
        for place, message in enumerate(self._queue):
            number = message.limited_destination
            if number not in limits or self._count_busy(number) < limits[number]:
                del self._queue[place]
                return message
        return None

    def _end_slot(self, task: asyncio.Task[None]) -> None:
        self._slots.discard(task)
        if not self._slots and not self._queue:
            self._results.end_probe()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a delivery slot of %s failed", self.profile_id, exc_info=error)
        if not task.cancelled():
            # Slots above the limit may all end at one moment, so start slots up to the limit.
            self._start_slots()
        self._announce_room()

    def _announce_room(self) -> None:
        if self.machine.state is not LaneState.DIRECT:  # else nothing waits in the database
            self._parts.wake.set()

    async def _run_slot(self) -> None:
        session: Session | None = None
        ahead: deque[Attempts] = deque()
        self._ahead.append(ahead)
        next_mail = partial(self._begin_next_mail, ahead)
        try:
            while (attempts := await self._wait_next_attempts(ahead)) is not None:
                session = await self._deliver(attempts, session, next_mail)
                if self.limit.granted_for:  # a message may have waited for this one's destination
                    self._start_slots()
                if len(self._queue) * 2 < self.limit.connections * CLAIMS_PER_CONNECTION:
                    self._announce_room()
        except BaseException:
            for attempts in ahead:
                self._results.settle(attempts, self.config)
            if session is not None:
                session.abort()
            raise
        finally:
            self._ahead = [other for other in self._ahead if other is not ahead]
        if session is not None:
            self._pool.keep(session)

    def _begin_next_mail(self, ahead: deque[Attempts]) -> Mail | None:
        """Take the mail that a slot sends next: no other slot gets it."""
        if ahead or len(self._queue) < len(self._slots):  # the other slots would have none
            return None
        if not self._parts.leases.is_certain:
            return None
        if (attempts := self._next_attempts(ahead)) is None:
            return None
        ahead.append(attempts)
        return attempts.begin_next(self._parts.clock.now())

    async def _wait_next_attempts(self, ahead: deque[Attempts]) -> Attempts | None:
        await self._parts.leases.wait_certain()
        return self._next_attempts(ahead)

    def _next_attempts(self, ahead: deque[Attempts]) -> Attempts | None:
        """Take what was begun ahead, else the first of the queue."""
        while (attempts := self._take_next(ahead)) is not None:
            if self._parts.leases.is_held(attempts.message):
                return attempts
            # Settle it unchanged: otherwise this worker would renew its lease forever.
            self._results.settle(attempts, self.config)
        return None

    def _take_next(self, ahead: deque[Attempts]) -> Attempts | None:
        if ahead:
            return ahead.popleft()
        message = self._pop_ready() if len(self._slots) <= self.limit.slots else None
        if message is None:
            return None
        via = self.profile_id if message.profile_id != self.profile_id else None
        return Attempts(
            message,
            via=via,
            routing=self.config.routing,
            recipient_limits=self.config.recipient_limits,
        )

    async def _deliver(
        self, attempts: Attempts, session: Session | None, next_mail: NextMail
    ) -> Session | None:
        """Work on one message; returns the session if it can carry another."""
        attempts.revision = self.config.profile.revision
        self._in_progress[attempts.message.id] = attempts
        try:
            session = await self._sender.attempt(attempts, session, self.config, next_mail)
        except asyncio.CancelledError:
            self._results.settle(attempts, self.config)
            raise
        except Exception:
            log.exception("delivery of %s failed", attempts.message.id)
            self._sender.decide_all(attempts, INTERNAL_ERROR)
            attempts.fault = None
        finally:
            self._in_progress.pop(attempts.message.id, None)
        results = [*attempts.outcomes.values(), *filter(None, [attempts.fault])]
        self._has_reply = self._has_reply or any(result.reply is not None for result in results)
        self.limit.adapt(results, attempts.seconds)
        if attempts.fault is None:
            self._results.settle(attempts, self.config)
        else:
            # Nothing more is begun until the fault is recorded.
            self._results.fail(attempts, attempts.fault, self.config, self.drop_queue())
        return session

    @property
    def is_stalled(self) -> bool:
        """Whether every allowed connection has waited long for the server."""
        sessions = [attempts.session for attempts in self._in_progress.values()]
        silent_count = sum(
            session is not None and session.silent_seconds > SILENT_SECONDS for session in sessions
        )
        return silent_count >= self.limit.connections > 0

    @property
    def is_stall_over(self) -> bool:
        """Whether the server has answered since the stall was recorded."""
        return self._is_recorded_stalled and self._has_reply

    @property
    def stall_reason(self) -> str:
        """Return the reason to record for a stalled lane."""
        return (
            f"{self.config.profile.host} has been silent on all {self.limit.connections}"
            f" connections, each for more than {SILENT_SECONDS:.0f} s"
        )

    def note_stall(self, *, is_stalled: bool) -> None:
        """Note whether the database records a stall."""
        if is_stalled and not self._is_recorded_stalled:
            self._has_reply = False
        self._is_recorded_stalled = is_stalled

    def add_connection(self) -> None:
        """Open an extra connection while the server is silent."""
        self.limit.has_extra = True
        self._start_slots()

    async def wait_idle(self) -> None:
        """Wait until no message is being sent."""
        while self._slots:
            await asyncio.wait(self._slots)

    async def close(self) -> None:
        """Cancel all work, and close every session."""
        for task in self._slots:
            task.cancel()
        await self.wait_idle()
        await self._pool.close()
