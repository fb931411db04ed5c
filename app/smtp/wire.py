"""Write bytes to an open session, and match each reply to its command."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from app.domain.clock import monotonic_seconds
from app.domain.outcome.outcome import Stage
from app.domain.outcome.replies import UNAVAILABLE, Reply
from app.smtp.faults import ServerClosedError, stage
from app.smtp.protocol import MalformedReplyError, ReplyReader

UNEXPECTED_DATA: Final = "unexpected data before a command"


@dataclass(slots=True, eq=False)
class PendingReplies:
    """The replies to commands sent together.

    Each reply has `seconds` from `since` (the loop's clock): the previous reply, or the request.
    `times` are arrival times (`monotonic_seconds`). `waiter` is resolved when all replies arrived
    or no more will.
    """

    count: int
    seconds: float
    since: float
    replies: list[Reply] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    error: Exception | None = None
    waiter: asyncio.Future[None] | None = None

    @property
    def is_done(self) -> bool:
        """Whether all replies arrived, or no more will."""
        return self.error is not None or len(self.replies) == self.count

    async def wait(self, at: Stage) -> list[Reply]:
        """Wait for all replies. Raises StageFailedError at stage `at`.

        `replies` then holds those that arrived.
        """
        if not self.is_done:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        if self.error is not None:
            with stage(at):
                raise self.error
        return self.replies

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Wire(asyncio.Protocol):
    """Takes over a transport, and matches replies to requests in order.

    `is_open` until the server closes the connection, sends 421, or sends an unexpected reply.
    `redact` removes secrets from replies.
    """

    def __init__(self, transport: asyncio.Transport, redact: Callable[[str], str]) -> None:
        self._transport = transport
        self._reader = ReplyReader(redact)
        self._loop = asyncio.get_running_loop()
        self._awaited: deque[PendingReplies] = deque()
        self._error: Exception | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None
        self._is_paused = False
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether commands can still be sent."""
        return self._error is None and not self._transport.is_closing()

    @property
    def has_pending_replies(self) -> bool:
        """Whether the server owes replies."""
        return bool(self._awaited)

    @property
    def silent_seconds(self) -> float:
        """Seconds since the server last sent or read, while a reply is pending."""
        return self._loop.time() - self._awaited[0].since if self._awaited else 0.0

    def send(self, parts: Sequence[bytes], count: int, seconds: float) -> PendingReplies:
        """Write, and expect `count` replies, each within `seconds` of the previous one."""
        self.write(parts)
        return self.expect(count, seconds)

    def write(self, parts: Sequence[bytes]) -> None:
        """Write, if the connection is still usable."""
        if self.is_open:
            self._transport.write(b"".join(parts))

    def expect(self, count: int, seconds: float | None) -> PendingReplies:
        """Expect replies, without a limit if `seconds` is None."""
        pending = PendingReplies(count, seconds or math.inf, self._loop.time())
        if self._error is None and self._transport.is_closing():
            self._error = ServerClosedError()
        pending.error = self._error
        if pending.error is None:
            self._awaited.append(pending)
            if self._awaited[0] is pending:
                self._watch_first()
        return pending

    def limit(self, pending: PendingReplies, seconds: float) -> None:
        """Give pending replies `seconds` from now."""
        pending.since, pending.seconds = self._loop.time(), seconds
        if self._awaited:
            self._watch_first()

    async def write_block(self, block: bytes, pending: PendingReplies, seconds: float) -> None:
        """Write, and return when the server can take more or has replied.

        Raises TimeoutError if the server does not read within `seconds`.
        """
        if self.is_open:
            self._transport.write(block)
        if self._is_paused and self.is_open and not pending.is_done:
            self._drained = pending.waiter = self._loop.create_future()
            async with asyncio.timeout(seconds):
                await self._drained

    def close(self) -> None:
        """Close after writing everything."""
        self._stop_watching()
        self._transport.close()

    def abort(self) -> None:
        """Close at once, and drop unsent data."""
        self._stop_watching()
        cast("asyncio.WriteTransport", self._transport).abort()

    def data_received(self, data: bytes) -> None:
        at = monotonic_seconds()
        try:
            for reply in self._reader.feed(data):
                self._receive(reply, at)
        except MalformedReplyError as error:
            self._fail(error)
        if self._awaited:
            self._awaited[0].since = self._loop.time()
            self._watch_first()

    def _receive(self, reply: Reply, at: float) -> None:
        if not self._awaited:
            closed = reply.code == UNAVAILABLE
            self._fail(ServerClosedError() if closed else MalformedReplyError(UNEXPECTED_DATA))
            return
        pending = self._awaited[0]
        pending.replies.append(reply)
        pending.times.append(at)
        if len(pending.replies) == pending.count:
            self._awaited.popleft()
            pending.wake()
        if reply.code == UNAVAILABLE:  # other pending commands get no reply
            self._fail(ServerClosedError())

    def eof_received(self) -> None:
        # Unread data would delay the end of the connection.
        self._fail(ServerClosedError())

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ServerClosedError())
        self._stop_watching()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._awaited:  # the server has read on
            self._awaited[0].since = self._loop.time()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        while self._awaited:
            pending = self._awaited.popleft()
            pending.error = self._error
            pending.wake()

    def _watch_first(self) -> None:
        """Set one timer for all replies: most arrive long before it fires."""
        first = self._awaited[0]
        deadline = first.since + first.seconds
        if deadline == math.inf:
            return
        if self._watch is not None:
            if self._watch.when() <= deadline:
                return
            self._watch.cancel()
        self._watch = self._loop.call_at(deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        self._watch = None
        if not self._awaited:
            return
        first = self._awaited[0]
        if first.since + first.seconds <= self._loop.time():
            self._fail(TimeoutError())
        else:
            self._watch_first()

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
