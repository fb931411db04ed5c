"""`python -m benchmarks.no_key`: how fast `/healthz` answers beside hostile requests without a key.

Sixteen connections (`--connections`) send one kind of request again and again, and another one asks
for `/healthz`. Each kind is measured beside nothing and beside itself in turn, in one run.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from benchmarks.trial.service import TrialService

TIMES: Final = 200
BODY_BYTES: Final = 53_000_000
ROUND_SECONDS: Final = 60.0
UNUSED_PORT: Final = 9  # of a profile that sends nothing
JSON: Final = "application/json"
STRINGS: Final = b'{"a":[' + b'"",' * 20_000
HEADER: Final = b"Subject: " + b"=?utf-8?q?a?= " * 4_000


def request(path: str, content_type: str, *, key: str = "", method: str = "POST") -> bytes:
    """The header of a request with a large body."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n{key}"
    return f"{head}Content-Length: {BODY_BYTES}\r\n\r\n".encode()


WRONG: Final = "Authorization: Bearer hel_" + "x" * 43 + "\r\n"
# What is sent, header and then part after part, until the connection is closed.
KINDS: Final[Mapping[str, tuple[bytes, bytes]]] = {
    "millions of strings": (request("/messages", JSON), STRINGS),
    "millions of strings, a wrong key": (request("/messages", JSON, key=WRONG), STRINGS),
    "UTF-16": (request("/messages", JSON), STRINGS.decode().encode("utf-16-le")),
    "brackets": (request("/messages/batch", JSON), b"[" * 65_536),
    "a form": (request("/messages", "multipart/form-data; boundary=b"), b"--b\r\n" * 10_000),
    "an upload without line ends": (request("/messages/upload", "application/jsonl"), STRINGS),
    "encoded words": (request("/messages/raw?to=a@example.org", "message/rfc822"), HEADER),
    "continuations": (request("/inbound/bounces", "message/rfc822"), b"; a*0*=x" * 8_000),
    "no such path": (request("/nothing", JSON), STRINGS),
    "a body of GET": (request("/openapi.json", JSON, method="GET"), STRINGS),
    "a path of 60 KB": (b"GET /" + b"a@" * 30_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "a header that does not end": (b"GET /messages HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n" * 500),
}


async def keep_sending(port: int, head: bytes, part: bytes) -> None:
    """Connect, send until the server hangs up, and begin again."""
    while True:
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(head)
                for _ in range(BODY_BYTES // len(part) if part else 0):
                    writer.write(part)
                    await writer.drain()
                await reader.read()
            finally:
                writer.close()


async def healthz_seconds(port: int) -> list[float]:
    """How long each of `TIMES` requests took, one connection after another."""
    took = []
    for _ in range(TIMES):
        started_seconds = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"/healthz answered {answer!r}")
        took.append(time.perf_counter() - started_seconds)
        writer.close()
    return took


def in_child(work: Callable[[], None]) -> int:
    """Run it in a process of its own, so that the one that measures waits for none of it."""
    if (child := os.fork()) == 0:
        with suppress(KeyboardInterrupt):
            work()
        os._exit(0)
    return child


def p99(seconds: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(seconds, n=100)[-1]


async def send_from_all(connections: int, port: int, head: bytes, part: bytes) -> None:
    """So many at once, for a bounded time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ROUND_SECONDS):
            await asyncio.gather(*(keep_sending(port, head, part) for _ in range(connections)))


def measure(
    connections: int, port: int, head: bytes, part: bytes
) -> tuple[list[float], list[float]]:
    """How long `/healthz` takes, alone and beside the requests."""
    alone = asyncio.run(healthz_seconds(port))
    child = in_child(lambda: asyncio.run(send_from_all(connections, port, head, part)))
    time.sleep(1)  # until all of them are connected
    beside = asyncio.run(healthz_seconds(port))
    os.kill(child, 9)
    os.waitpid(child, 0)
    return alone, beside


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, default=16)
    connections = parser.parse_args().connections
    print("| beside | p50 ms | worst ms | p50 over alone | p99 over alone |")
    print("|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="heloise-bench-") as folder:
        service = TrialService(Path(folder), f"sqlite:///{folder}/heloise.db")
        service.prepare(smtp_port=UNUSED_PORT)
        with service.serving() as trial:
            port = int(trial.url.rpartition(":")[2])
            for name, (head, part) in KINDS.items():
                alone, beside = measure(connections, port, head, part)
                middle = statistics.median(beside)
                ratios = middle / statistics.median(alone), p99(beside) / p99(alone)
                print(
                    f"| {name} | {middle * 1e3:.1f} | {max(beside) * 1e3:.1f}"
                    f" | {ratios[0]:.1f} | {ratios[1]:.1f} |"
                )


if __name__ == "__main__":
    main()
