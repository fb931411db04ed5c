"""The limit: SMTP written by hand for speed alone, over asyncio's protocols.

A message is one write, MAIL to the final dot of the one before it: the next MAIL, RCPT and DATA go
out with it (RFC 2920), so each message takes one round trip. For each it does what cannot be left
out: it writes the envelope, doubles the dots, and looks at the first digit of every reply. Nothing
is matched, remembered or timed out: it does what no client may do, so that none is faster.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Final, cast

ENVELOPE: Final = b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nDATA\r\n"
REPLIES_TO_ENVELOPE: Final = 3


class _Client(asyncio.Protocol):
    """One connection. It counts replies: each of them is one line."""

    def __init__(self, sender: str, recipient: str, content: bytes, *, pipelining: bool) -> None:
        self._addresses = (sender, recipient)
        self._content = content
        self._pipelining = pipelining
        self._steps = self._dialogue()
        self._awaited = 1
        self._turns: Iterator[int] = iter(())
        self._in_hello = False
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.ready, self.ended):
            if not future.done():
                future.set_exception(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        if not self.ready.done():
            self._greet(data)
            return
        replies = data.splitlines()
        if any(reply[:1] not in (b"2", b"3") for reply in replies):
            self._transport.abort()
            return
        self._awaited -= len(replies)
        if self._awaited <= 0:
            next(self._steps, None)

    def _greet(self, data: bytes) -> None:
        if not self._in_hello:
            self._in_hello = True
            self._transport.write(b"EHLO mail.example.com\r\n")
        elif b"250 " in data:
            self.ready.set_result(None)

    def start(self, turns: Iterator[int]) -> None:
        """Send a message for each turn. A free connection takes the next one."""
        self._turns = turns
        next(self._steps, None)

    def _dialogue(self) -> Iterator[None]:
        if not self._pipelining:
            yield from self._one_by_one()
        elif next(self._turns, None) is not None:
            yield from self._say(self._envelope(), REPLIES_TO_ENVELOPE)
            for _ in self._turns:
                yield from self._say(self._body() + self._envelope(), 1 + REPLIES_TO_ENVELOPE)
            yield from self._say(self._body(), 1)
        self._transport.close()
        self.ended.set_result(None)

    def _one_by_one(self) -> Iterator[None]:
        for _ in self._turns:
            for part in (*self._envelope().splitlines(keepends=True), self._body()):
                yield from self._say(part, 1)

    def _envelope(self) -> bytes:
        sender, recipient = self._addresses
        return ENVELOPE % (sender.encode(), recipient.encode())

    def _body(self) -> bytes:
        return self._content.replace(b"\r\n.", b"\r\n..").removesuffix(b"\r\n") + b"\r\n.\r\n"

    def _say(self, data: bytes, replies: int) -> Iterator[None]:
        self._awaited = replies
        self._transport.write(data)
        yield


async def send_by_hand(
    port: int,
    content: bytes,
    *,
    sender: str,
    recipient: str,
    messages: int,
    connections: int,
    pipelining: bool,
) -> float:
    """Send this message as often; returns the seconds it took once all were connected."""
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(
            lambda: _Client(sender, recipient, content, pipelining=pipelining), "127.0.0.1", port
        )
        for _ in range(connections)
    ]
    clients = [client for _, client in made]
    await asyncio.gather(*(client.ready for client in clients))
    turns = iter(range(messages))
    started_at = time.monotonic()
    for client in clients:
        client.start(turns)
    await asyncio.gather(*(client.ended for client in clients))
    return time.monotonic() - started_at
