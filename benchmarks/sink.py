"""An SMTP server that takes all mail and keeps none, as a process of its own."""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Final, cast

import uvloop

GREETING: Final = b"220 sink.test ESMTP\r\n"
EXTENSIONS: Final = b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 52428800\r\n"
GO_ON: Final = b"354 End with a dot\r\n"
OK: Final = b"250 2.0.0 Ok\r\n"
BYE: Final = b"221 2.0.0 Bye\r\n"
END: Final = b"\r\n.\r\n"


class Counts:
    """What the sink saw, shared between processes."""

    def __init__(self, context: Any) -> None:  # noqa: ANN401 - contexts have no common public type
        self._messages = context.Value("q", 0)
        self._first_at = context.Value("d", 0.0)
        self._last_at = context.Value("d", 0.0)

    @property
    def messages(self) -> int:
        """How many were taken since `reset`."""
        return int(self._messages.value)

    @property
    def first_at_seconds(self) -> float:
        """When the first connection was made, by `time.monotonic`."""
        return float(self._first_at.value)

    @property
    def last_at_seconds(self) -> float:
        """When the last message was taken, by `time.monotonic`."""
        return float(self._last_at.value)

    def reset(self) -> None:
        """Count from here on."""
        self._messages.value, self._first_at.value = 0, 0.0

    def connected(self) -> None:
        """Note a connection."""
        self._first_at.value = self._first_at.value or time.monotonic()

    def took(self) -> None:
        """Note a message."""
        self._messages.value += 1
        self._last_at.value = time.monotonic()


class _Session(asyncio.Protocol):
    """One client."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._unread = bytearray()
        self._in_message = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._counts.connected()
        self._transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        replies = b"".join(self._replies())
        if replies:
            self._transport.write(replies)
        if replies.endswith(BYE):
            self._transport.close()

    def _replies(self) -> Iterator[bytes]:
        while (end := self._unread.find(END if self._in_message else b"\r\n")) >= 0:
            if self._in_message:
                del self._unread[: end + len(END)]
                self._in_message = False
                self._counts.took()
                yield OK
            else:
                verb = bytes(self._unread[: min(end, 4)]).upper()
                del self._unread[: end + 2]
                yield self._answer(verb)

    def _answer(self, verb: bytes) -> bytes:
        match verb:
            case b"EHLO":
                return EXTENSIONS
            case b"DATA":
                self._in_message = True
                return GO_ON
            case b"QUIT":
                return BYE
            case _:
                return OK


def _serve(counts: Counts, told: Connection) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Session(counts), "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


@contextmanager
def running_sink() -> Iterator[tuple[int, Counts]]:
    """A sink on a free loopback port: the port, and what it counts."""
    context = multiprocessing.get_context("spawn")
    counts = Counts(context)
    telling, told = context.Pipe()
    process = context.Process(target=_serve, args=(counts, told), daemon=True)
    process.start()
    try:
        yield telling.recv(), counts
    finally:
        process.terminate()
        process.join()
