"""An SMTP load: messages over connections that have logged in, each accepted before the next."""

import asyncio
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Final, cast
from uuid import uuid4

from benchmarks.trial.load import Load
from benchmarks.trial.message import RECIPIENT, SENDER

EHLO_NAME: Final = "mail.example.com"
ENVELOPE: Final = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode()
END: Final = b"\r\n.\r\n"

Steps = Generator[None, int, None]


@dataclass(frozen=True, slots=True)
class Server:
    """A submission server of loopback, and a user who may log in there with PLAIN.

    `ports` are those of its processes, which share the connections.
    """

    ports: tuple[int, ...]
    user: str
    password: str


class _Connection(asyncio.Protocol):
    """One connection: it pipelines the envelope (RFC 2920), and waits for 354 and 250."""

    def __init__(self, server: Server, content: bytes, turns: Iterator[int], load: Load) -> None:
        self._server = server
        # Heloise stores a message with the same Message-ID only once.
        self._before_id, self._id, self._after_id = _split_id(content)
        self._turns = turns
        self._load = load
        self._unread = b""
        self._steps = self._dialogue()
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        next(self._steps)

    def connection_lost(self, exc: Exception | None) -> None:
        awaited = self.ended if self.ready.done() else self.ready
        if not awaited.done():
            awaited.set_exception(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\r\n")
        for line in lines:
            if line[3:4] != b"-":
                self._steps.send(int(line[:3]))

    def start(self) -> None:
        """Send messages while there are turns. A free connection takes the next one."""
        self._send_next()

    def _dialogue(self) -> Steps:
        login = b64encode(f"\0{self._server.user}\0{self._server.password}".encode())
        yield from _reply(220)
        self._transport.write(f"EHLO {EHLO_NAME}\r\n".encode())
        yield from _reply(250)
        self._transport.write(b"AUTH PLAIN %b\r\n" % login)
        yield from _reply(235)
        self.ready.set_result(None)
        while True:
            for code in (250, 250, 354):
                yield from _reply(code)
            self._transport.write(b"".join((self._before_id, self._id, self._after_id)))
            yield from _reply(250)
            self._load.latencies_seconds.append(time.monotonic() - self._started_at)
            self._load.statuses[250] += 1
            self._send_next()

    def _send_next(self) -> None:
        if next(self._turns, None) is not None:
            self._id = uuid4().hex.encode()
            self._started_at = time.monotonic()
            self._transport.write(ENVELOPE)
        elif not self.ended.done():
            self.ended.set_result(None)
            self._transport.close()


def _reply(code: int) -> Steps:
    """Wait for a reply; raises ConnectionError, which ends the connection, for any other code."""
    got = yield
    if got != code:
        raise ConnectionError(f"the server answered {got}, not {code}")


def _split_id(content: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the dot-stuffed content before, in and behind its Message-ID's local part."""
    stuffed = content.replace(b"\r\n.", b"\r\n..").removesuffix(b"\r\n") + END
    before, field, rest = stuffed.partition(b"Message-ID: <")
    local_part, at, after = rest.partition(b"@")
    return before + field, local_part, at + after


async def submit_load(server: Server, content: bytes, *, messages: int, connections: int) -> Load:
    """Submit `messages` copies of the content, each with a Message-ID of its own.

    The time begins once all connections have logged in. Raises ConnectionError where a message is
    not accepted.
    """
    loop, turns = asyncio.get_running_loop(), iter(range(messages))
    load = Load(0.0, 0.0, Counter(), [])
    clients = [
        client
        for _, client in [
            await loop.create_connection(
                lambda: _Connection(server, content, turns, load), "127.0.0.1", port
            )
            for _, port in zip(range(connections), cycle(server.ports), strict=False)
        ]
    ]
    await asyncio.gather(*(client.ready for client in clients))
    started_at = time.monotonic()
    for client in clients:
        client.start()
    await asyncio.gather(*(client.ended for client in clients))
    duration_seconds = time.monotonic() - started_at
    return replace(load, started_at_seconds=started_at, duration_seconds=duration_seconds)
