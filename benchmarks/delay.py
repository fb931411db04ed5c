"""A network with a round trip: a TCP proxy that holds back all it carries, as a process of its own.

Bandwidth is not limited, and nothing is lost. What comes in a direction is passed on half a round
trip later. A timer is up to a millisecond late: measure the round trip through it.
"""

import asyncio
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, cast

from benchmarks.trial.child import listening, tell_port

BACKLOG: Final = 2048
PINGS: Final = 11


class _Side(asyncio.Protocol):
    """One end of a connection: what it hears is said at the other end later, None as its close."""

    def __init__(self, delay_seconds: float) -> None:
        self._delay_seconds = delay_seconds
        self._held: deque[bytes | None] = deque()
        self.other: _Side | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._hold(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._hold(None)

    def _hold(self, data: bytes | None) -> None:
        self._held.append(data)
        asyncio.get_running_loop().call_later(self._delay_seconds, self._pass_on)

    def _pass_on(self) -> None:
        data, other = self._held.popleft(), self.other
        if other is None or other.transport is None:
            return
        if data is None:
            other.transport.close()
        else:
            other.transport.write(data)


class _Client(_Side):
    """The end of who connected; it is not listened to until the server is connected too."""

    def __init__(self, delay_seconds: float, target: int) -> None:
        super().__init__(delay_seconds)
        self._target = target

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).pause_reading()
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()

        def server() -> _Side:
            side = _Side(self._delay_seconds)
            side.other, self.other = self, side
            return side

        await loop.create_connection(server, "127.0.0.1", self._target)
        if self.transport is not None:
            self.transport.resume_reading()


async def _serve(target: int, delay_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Client(delay_seconds, target), "127.0.0.1", 0, backlog=BACKLOG
    )
    tell_port(server.sockets[0].getsockname()[1])
    await server.serve_forever()


@contextmanager
def round_trip_to(port: int, *, milliseconds: float) -> Iterator[int]:
    """A port of loopback from which that one is a round trip away."""
    with listening(__name__, str(port), str(milliseconds / 2000)) as far_port:
        yield far_port


def measured_round_trip_ms(port: int) -> float:
    """How long an SMTP server on this port takes to answer NOOP, at the median."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.recv(512)
        took: list[float] = []
        for _ in range(PINGS):
            started_at = time.monotonic()
            connection.sendall(b"NOOP\r\n")
            connection.recv(512)
            took.append(time.monotonic() - started_at)
    return sorted(took)[PINGS // 2] * 1000


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
