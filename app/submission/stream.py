"""Read and write a client's connection: lines, blocks, TLS, time limits, back-pressure."""

import asyncio
import ssl
from typing import Final, cast

from app.submission.reader import LineReader

# More than this is left in the kernel until it is read here.
MAX_BUFFERED_BYTES: Final = 256 * 1024
HANDSHAKE_SECONDS: Final = 15.0
WRITE_SECONDS: Final = 60.0
# After so many replies in a row the client has to read, and others have their turn.
MAX_PENDING_REPLIES: Final = 32
CLOSE_SECONDS: Final = 5.0  # for the last reply and the client's end of TLS


class ClientGoneError(Exception):
    """The client closed the connection, or it broke."""


class ClientStream(asyncio.Protocol):
    """One client's connection.

    Replies collect until the client's next bytes are waited for, so those to commands that arrive
    together leave together (RFC 2920 section 3.2).
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None  # set by `connection_made`
        self._reader = LineReader()
        self._pending = list[bytes]()
        self._more: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._is_paused = self._is_over = False

    @property
    def has_input(self) -> bool:
        """Whether bytes are buffered that nobody has read."""
        return len(self._reader) > 0

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session, for its version and cipher; None without TLS."""
        transport = self._transport
        return None if transport is None else transport.get_extra_info("ssl_object")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        if not self._is_paused and len(self._reader) > MAX_BUFFERED_BYTES and self._transport:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._is_over = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._is_over = True
        if self._timer is not None:  # it would keep the connection's memory
            self._timer.cancel()
            self._timer = None
        if not self._closed.done():
            self._closed.set_result(None)
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def read_line(self, max_bytes: int, seconds: float) -> bytes:
        """Return the next line without its CRLF.

        Raises LineTooLongError, BareLineEndError, ClientGoneError, or TimeoutError after `seconds`.
        """
        deadline = self._loop.time() + seconds
        if len(self._pending) >= MAX_PENDING_REPLIES:
            await self.flush()
            await asyncio.sleep(0)
        while (line := self._reader.next_line(max_bytes)) is None:
            await self._wait(deadline)
        return line

    async def read(self, seconds: float, max_bytes: int | None = None) -> bytes:
        """Return what is buffered, or arrives next; raises ClientGoneError or TimeoutError."""
        if not self.has_input:
            await self._wait(self._loop.time() + seconds)
        return self._reader.take(max_bytes)

    def put_back(self, data: bytes) -> None:
        """Return bytes that belong to what follows."""
        self._reader.put_back(data)

    async def _wait(self, deadline: float) -> None:
        await self.flush()
        if self._is_over or self._transport is None:
            raise ClientGoneError
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        self._more = self._loop.create_future()
        self._set_deadline(deadline)
        try:
            await self._more
        finally:
            self._more = None
        self._check_open()

    def _set_deadline(self, deadline: float) -> None:
        """End a wait at `deadline`, by one timer for many waits: most end long before it."""
        self._deadline = deadline
        if self._timer is not None and self._timer.when() > deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        if self._more is None or self._more.done():
            return
        if self._loop.time() >= self._deadline:
            self._more.set_exception(TimeoutError())
        else:
            self._set_deadline(self._deadline)

    def _check_open(self) -> None:
        if self._is_over and not self.has_input:
            raise ClientGoneError

    def write(self, data: bytes) -> None:
        """Send bytes before the next wait for input."""
        self._pending.append(data)

    async def flush(self) -> None:
        """Send what was written; raises TimeoutError if the client does not read it."""
        if self._pending and self._transport is not None:
            self._transport.write(b"".join(self._pending))
            self._pending.clear()
        if self._drained is not None and not self._is_over:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._drained

    async def start_tls(self, context: ssl.SSLContext, reply: bytes) -> None:
        """Send `reply` and start TLS; raises ClientGoneError if the handshake fails.

        The caller has checked that there is no input: what arrives from now on is TLS.
        """
        if self._transport is None:
            raise ClientGoneError
        self._transport.pause_reading()
        self.write(reply)
        await self.flush()
        try:
            self._transport = await self._loop.start_tls(
                self._transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        except OSError as error:  # ssl.SSLError is one
            raise ClientGoneError from error
        if self._transport is None:
            raise ClientGoneError

    def close(self) -> None:
        """Send what was written, and close; a read that waits raises ClientGoneError."""
        self._is_over = True
        self._wake()
        self.resume_writing()
        # asyncio forgets a TLS connection that is closed twice, and could no longer abort it.
        if self._transport is not None and not self._transport.is_closing():
            if self._pending:
                self._transport.write(b"".join(self._pending))
                self._pending.clear()
            self._transport.close()

    async def wait_closed(self) -> None:
        """Wait until the connection is closed; abort it if the client delays that."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._closed
        except TimeoutError:
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
