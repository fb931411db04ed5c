"""An HTTP load: the same request over keep-alive connections, each answered before the next."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools


@dataclass(frozen=True, slots=True)
class Load:
    """How a load was answered; `started_at_seconds` is by `time.monotonic`."""

    started_at_seconds: float
    duration_seconds: float
    statuses: Counter[int]
    latencies_seconds: list[float]

    @property
    def per_second(self) -> float:
        """Requests answered in a second."""
        return len(self.latencies_seconds) / self.duration_seconds

    def latency_ms(self, percent: int) -> float:
        """The latency that this percentage of the requests kept to, in milliseconds."""
        return statistics.quantiles(self.latencies_seconds, n=100)[percent - 1] * 1000


class _Connection(asyncio.Protocol):
    """One keep-alive connection, which asks again until nothing is left to ask."""

    def __init__(self, request: bytes, turns: Iterator[int], load: Load) -> None:
        self._request = request
        self._turns = turns
        self._load = load
        self._asked_at = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Note the answer, and ask again: httptools' name for a whole response."""
        self._load.latencies_seconds.append(time.monotonic() - self._asked_at)
        self._load.statuses[self._parser.get_status_code()] += 1
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionError("the server closed the connection"))

    def _ask(self) -> None:
        if next(self._turns, None) is not None:
            self._asked_at = time.monotonic()
            self._transport.write(self._request)
        elif not self.ended.done():
            self.ended.set_result(None)
            self._transport.close()


def request(method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """The bytes of a request; a body is JSON."""
    parts = urlsplit(url)
    fields = {"Host": parts.netloc, **headers}
    if body:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body


async def put_load(url: str, request: bytes, *, requests: int, connections: int) -> Load:
    """Ask `requests` times over `connections`; raises ConnectionError where one breaks."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    loop, turns = asyncio.get_running_loop(), iter(range(requests))
    load = Load(time.monotonic(), 0.0, Counter(), [])
    pairs = await asyncio.gather(
        *(
            loop.create_connection(lambda: _Connection(request, turns, load), host, port)
            for _ in range(connections)
        )
    )
    await asyncio.gather(*(connection.ended for _, connection in pairs))
    duration_seconds = time.monotonic() - load.started_at_seconds
    return Load(
        load.started_at_seconds,
        duration_seconds,
        load.statuses,
        load.latencies_seconds,
    )
