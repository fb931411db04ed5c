"""The limit: SMTP written by hand for speed alone, over asyncio's protocols.

A message is one write, MAIL to the final dot of the one before it: the next MAIL, RCPT and DATA go
out with it (RFC 2920), so each message takes one round trip. No reply is looked at but for its
first digit, nothing is remembered, nothing times out: it does what no client may do, so that none
is faster.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Final, cast

ENVELOPE: Final = b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nDATA\r\n"
REPLIES_TO_ENVELOPE: Final = 3


class _Client(asyncio.Protocol):
    """One connection. It counts replies: each of them is one line."""

    def __init__(self, envelope: bytes, body: bytes, *, pipelining: bool) -> None:
        self._envelope = envelope
        self._body = body
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
        if data[:1] not in b"23":
            self._transport.abort()
            return
        self._awaited -= data.count(b"\n")
        if self._awaited <= 0:
            next(self._steps, None)

    def _greet(self, data: bytes) -> None:
        if not self._in_hello:
            self._in_hello = True
            self._transport.write(b"EHLO mail.example.com\r\n")
        elif b"250 " in data:
            self.ready.set_result(None)

    def start(self, turns: Iterator[int]) -> None:
        """Send a message for each turn; whoever is free takes the next one."""
        self._turns = turns
        next(self._steps, None)

    def _dialogue(self) -> Iterator[None]:
        if not self._pipelining:
            yield from self._one_by_one()
        elif next(self._turns, None) is not None:
            yield from self._say(self._envelope, REPLIES_TO_ENVELOPE)
            for _ in self._turns:
                yield from self._say(self._body + self._envelope, 1 + REPLIES_TO_ENVELOPE)
            yield from self._say(self._body, 1)
        self._transport.close()
        self.ended.set_result(None)

    def _one_by_one(self) -> Iterator[None]:
        commands = self._envelope.splitlines(keepends=True)
        for _ in self._turns:
            for each in (*commands, self._body):
                yield from self._say(each, 1)

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
    envelope = ENVELOPE % (sender.encode(), recipient.encode())
    body = content.replace(b"\r\n.", b"\r\n..").removesuffix(b"\r\n") + b"\r\n.\r\n"
    made = [
        await loop.create_connection(
            lambda: _Client(envelope, body, pipelining=pipelining), "127.0.0.1", port
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
