"""An SMTP server that takes everything and counts it by Message-ID and recipient, fast."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Final, Self, cast

from tests.support.waiting import Changes

EXTENSIONS: Final = b"250-mx.test.invalid\r\n250-8BITMIME\r\n250 SIZE 33554432\r\n"
END: Final = b"\r\n.\r\n"


class CountingServer:
    """The server, on a free loopback port while its block runs.

    `seen` says how often each pair of Message-ID and recipient came in whole; `message_count` is
    how many messages that were. While `fault` gives a reply, it is the answer to the end of a
    message.
    """

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()
        self.message_count = 0
        self.fault: bytes | None = None
        self.connections: set[asyncio.Transport] = set()
        self._changes = Changes()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self), "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.hang_up()
        await self._server.wait_closed()

    def hang_up(self) -> None:
        """Drop every connection without a word."""
        for connection in list(self.connections):
            connection.abort()

    def took(self, message_id: str, recipients: list[str]) -> None:
        """Count a message."""
        self.seen.update((message_id, recipient) for recipient in recipients)
        self.message_count += 1
        self._changes.note()

    async def wait_for_count(self, count: int) -> None:
        """Return once so many messages have come in, copies too."""
        await self._changes.wait_until(
            lambda: self.message_count >= count, progress=lambda: self.message_count
        )


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: CountingServer) -> None:
        self._server = server
        self._unread = bytearray()
        self._recipients: list[str] = []
        self._is_in_message = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self._transport)
        self._transport.write(b"220 mx.test.invalid ESMTP\r\n")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        replies = b"".join(self._replies())
        self._transport.write(replies)
        if replies.startswith(b"221"):
            self._transport.close()

    def _replies(self) -> Iterator[bytes]:
        while (end := self._unread.find(END if self._is_in_message else b"\r\n")) >= 0:
            text = bytes(self._unread[:end])
            if self._is_in_message:
                del self._unread[: end + len(END)]
                yield self._ended(text)
            else:
                del self._unread[: end + 2]
                yield self._answer(text)

    def _ended(self, message: bytes) -> bytes:
        self._is_in_message = False
        if self._server.fault is not None:
            return self._server.fault
        _, _, rest = message.partition(b"Message-ID: ")
        self._server.took(rest.partition(b"\r\n")[0].decode(), self._recipients)
        return b"250 2.0.0 Ok\r\n"

    def _answer(self, command: bytes) -> bytes:
        match command[:4].upper():
            case b"EHLO":
                return EXTENSIONS
            case b"MAIL" | b"RSET":
                self._recipients = []
            case b"RCPT":
                address = command.partition(b"<")[2].partition(b">")[0]
                self._recipients.append(address.decode())
            case b"DATA":
                self._is_in_message = True
                return b"354 Go on\r\n"
            case b"QUIT":
                return b"221 2.0.0 Bye\r\n"
        return b"250 2.0.0 Ok\r\n"
