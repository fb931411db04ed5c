"""Run a profile's lane: its slots, sessions and messages."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, Protocol

from app.delivery.attempt import Attempts
from app.delivery.lane_config import LaneConfig
from app.delivery.record import Recorder
from app.delivery.sender import Sender
from app.domain.delivery.aimd import Concurrency, is_throttling
from app.domain.outcome.outcome import Blast, Outcome, Stage, Verdict
from app.smtp.extensions import Distrust
from app.smtp.pool import Pool
from app.smtp.protocol import Mail
from app.smtp.resolve import Network
from app.smtp.session import Following, Session
from app.store.outbox.queries import ClaimedMessage

log = logging.getLogger(__name__)

# So many messages are claimed for each connection: enough that none waits for the database,
# few enough that another replica finds some too.
CLAIMS_PER_CONNECTION: Final = 20
MAX_QUEUED_BYTES: Final = 16 * 1024 * 1024
# So long a server takes for an answer where it has much to do; longer, and it may be gone.
SILENT_SECONDS: Final = 30.0

BROKEN: Final = Outcome(
    Stage.MAIL, Verdict.DEFER, "internal_error", blast=Blast.MESSAGE, detail="see the service's log"
)


class Results(Protocol):
    """Takes a lane's results, and knows which messages the worker still owns."""

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
        """Stop the lane: the profile has a fault."""
        ...

    def room(self, lane: "Lane") -> None:
        """The lane can take more."""
        ...


class Lane:
    """Delivers one profile's messages through at most `max_connections` sessions at a time.

    `probe`: the one message in hand by which it finds out whether the profile's fault is over.
    `is_halted`: a fault was found that is not written down yet, so nothing may be begun.
    `is_direct`: nothing was due when somebody last looked, and nothing was in the way. `reserved`:
    how many messages are being written that it is to have. `has_failed`: it has met a fault since
    somebody last looked. `is_known_stalled`: some worker has written down that the server is silent
    on every connection; `is_heard`: it has answered here since. `has_extra`: it may have one
    connection more than its limits say, to find out.
    """

    def __init__(
        self,
        config: LaneConfig,
        *,
        network: Network,
        recorder: Recorder,
        results: Results,
        distrust: Distrust,
    ) -> None:
        self.config = config
        self.probe: str | None = None
        self.is_halted = False
        self.is_direct = False
        self.has_failed = False
        self.reserved = 0
        self.is_known_stalled = False
        self.is_heard = False
        self.has_extra = False
        self._recorder = recorder
        self._results = results
        self.granted = config.profile.max_connections
        self._concurrency = _known(config)
        self._pool = Pool(max_messages=config.profile.max_messages_per_connection)
        self._sender = Sender(self._pool, network, recorder, results.mark, distrust)
        self._queue: deque[ClaimedMessage] = deque()
        self._ahead: list[deque[Attempts]] = []  # by slot: what it has begun besides its message
        self._slots: set[asyncio.Task[None]] = set()
        self._at_work: dict[str, Attempts] = {}  # by message

    @property
    def profile_id(self) -> str:
        return self.config.profile.id

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in hand, not even a warm connection."""
        is_at_work = self._slots or self._queue or self.reserved
        return not is_at_work and not self._pool.has_sessions

    @property
    def health(self) -> tuple[bool, bool]:
        """Another one after each fault that is found, and once that is written down."""
        return self.is_halted, self.has_failed

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
    def is_stalled(self) -> bool:
        """Whether each connection that it may have waits for the server for long."""
        sessions = [each.session for each in self._at_work.values()]
        silent = sum(e is not None and e.silent_seconds > SILENT_SECONDS for e in sessions)
        return silent >= self.connections > 0

    def note_stall(self, *, is_stalled: bool) -> None:
        """Update the lane from the database."""
        if is_stalled and not self.is_known_stalled:
            self.is_heard = False
        self.is_known_stalled = is_stalled

    @property
    def silence(self) -> str:
        """What is wrong where it is stalled."""
        return (
            f"{self.config.profile.host} has been silent on all {self.connections} connections,"
            f" each for more than {SILENT_SECONDS:.0f} s"
        )

    def try_once_more(self) -> None:
        """Have one connection more than the limits say, while it is stalled."""
        self.has_extra = True
        self._start_slots()

    @property
    def _most_slots(self) -> int:
        return self.connections + self.has_extra

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
        in_hand = len(self._queue) + len(self._slots) + sum(map(len, self._ahead))
        return max(0, self.capacity - in_hand - self.reserved)

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
        wanted = min(len(self._queue), self._most_slots - len(self._slots))
        for _ in range(wanted):
            task = asyncio.create_task(self._run_slot(), name=f"slot of {self.profile_id}")
            self._slots.add(task)
            task.add_done_callback(self._slot_ended)

    def _slot_ended(self, task: asyncio.Task[None]) -> None:
        self._slots.discard(task)
        if not self._slots and not self._queue:
            self.probe = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a delivery slot of %s failed", self.profile_id, exc_info=error)
        if not task.cancelled():
            # Of slots that are too many now, all that end at one moment leave: also the last.
            self._start_slots()
        self._results.room(self)

    def drop_queue(self) -> list[str]:
        """Release messages of which no content was sent; return their ids."""
        dropped = [message.id for message in self._queue]
        dropped += [attempts.message.id for ahead in self._ahead for attempts in ahead]
        self._queue.clear()
        for ahead in self._ahead:
            ahead.clear()
        return dropped

    async def _run_slot(self) -> None:
        session: Session | None = None
        ahead: deque[Attempts] = deque()
        self._ahead.append(ahead)
        following = partial(self._look_ahead, ahead)
        try:
            while (attempts := self._next(ahead)) is not None:
                session = await self._deliver(attempts, session, following)
                if len(self._queue) * 2 < self.capacity:
                    self._results.room(self)
        except BaseException:
            for each in ahead:
                self._results.settle(self, each)
            if session is not None:
                session.abort()
            raise
        finally:
            self._ahead = [each for each in self._ahead if each is not ahead]
        if session is not None:
            self._pool.keep(session)

    def _look_ahead(self, ahead: deque[Attempts]) -> Mail | None:
        """Take the next message for a slot."""
        if ahead or len(self._queue) < len(self._slots):  # the other slots would have none
            return None
        if (attempts := self._next(ahead)) is None:
            return None
        ahead.append(attempts)
        return attempts.begin(self._recorder.now())

    def _next(self, ahead: deque[Attempts]) -> Attempts | None:
        """What to work on next: what was looked ahead for, else the first of the queue."""
        while ahead or (self._queue and len(self._slots) <= self._most_slots):
            attempts = ahead.popleft() if ahead else self._attempts(self._queue.popleft())
            if self._results.may_begin(attempts.message):
                return attempts
            # Given back as it is, if it is still ours: else it would be renewed for ever.
            self._results.settle(self, attempts)
        return None

    def _attempts(self, message: ClaimedMessage) -> Attempts:
        via = self.profile_id if message.profile_id != self.profile_id else None
        return Attempts(message, via=via, routing=self.config.routing)

    async def _deliver(
        self, attempts: Attempts, session: Session | None, following: Following
    ) -> Session | None:
        """Work on one message; answers the session, where it may carry another."""
        attempts.revision = self.config.profile.revision
        self._at_work[attempts.message.id] = attempts
        try:
            session = await self._sender.attempt(attempts, session, self.config, following)
        except asyncio.CancelledError:
            self._results.settle(self, attempts)
            raise
        except Exception:
            log.exception("delivery of %s failed", attempts.message.id)
            self._sender.decide_all(attempts, BROKEN)
            attempts.fault = None
        finally:
            self._at_work.pop(attempts.message.id, None)
        self._learn(attempts)
        if attempts.fault is None:
            self._results.settle(self, attempts)
        else:
            self._results.trip(self, attempts, attempts.fault)
        return session

    def _learn(self, attempts: Attempts) -> None:
        """Adapt to how the server took the message."""
        outcomes = [*attempts.outcomes.values(), *filter(None, [attempts.fault])]
        if any(each.reply is not None for each in outcomes):
            self.is_heard = True
        if any(is_throttling(each) for each in outcomes):
            self._concurrency = self._concurrency.throttled()
        elif any(each.verdict is Verdict.DELIVERED for each in outcomes):
            self._concurrency = self._concurrency.succeeded(attempts.seconds)

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
