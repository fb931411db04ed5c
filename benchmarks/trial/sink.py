"""Run an SMTP server that accepts and discards all mail."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import mmap
from pathlib import Path
from typing import Final, cast

from uvicorn.loops.auto import auto_loop_factory

from benchmarks.trial.child import listening, tell_port

GREETING: Final = b"220 sink.test ESMTP\r\n"
SERVED: Final = (b"8BITMIME", b"SIZE 52428800")
GO_ON: Final = b"354 End with a dot\r\n"
OK: Final = b"250 2.0.0 Ok\r\n"
BYE: Final = b"221 2.0.0 Bye\r\n"
LINE_END: Final = b"\r\n"
END: Final = b"\r\n.\r\n"
VERB_BYTES: Final = 4
BACKLOG: Final = 2048
CELLS: Final = 3
CELL_BYTES: Final = 8


class Counts:
    """What a sink saw: in a file that two processes have in their memory."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._cells = memoryview(mmap(file.fileno(), CELLS * CELL_BYTES)).cast("d")

    @property
    def messages(self) -> int:
        """How many were taken since `reset`."""
        return int(self._cells[0])

    @property
    def first_at_seconds(self) -> float:
        """When the first connection was made, by `time.monotonic`; 0 before it."""
        return self._cells[1]

    @property
    def last_at_seconds(self) -> float:
        """When the end of the last message came in, by `time.monotonic`."""
        return self._cells[2]

    def reset(self) -> None:
        """Count from here on."""
        self._cells[0] = self._cells[1] = self._cells[2] = 0.0

    def connected(self) -> None:
        """Note a connection."""
        self._cells[1] = self._cells[1] or time.monotonic()

    def took(self) -> None:
        """Note a message."""
        self._cells[0] += 1
        self._cells[2] = time.monotonic()


class _Session(asyncio.Protocol):
    """One client. A body is looked through for its end and thrown away as it comes."""

    def __init__(self, counts: Counts, extensions: tuple[bytes, ...]) -> None:
        self._counts = counts
        lines = (b"sink.test", *extensions)
        self._hello = b"".join(b"250-%b\r\n" % line for line in lines[:-1]) + (
            b"250 %b\r\n" % lines[-1]
        )
        self._unread = b""
        self._in_message = False
        self._chunk_bytes = 0
        self._is_last_chunk = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._counts.connected()
        self._transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        unread, replies = self._unread + data, list[bytes]()
        at = 0
        while (next_at := self._step(unread, at, replies)) > at:
            at = next_at
        self._unread = unread[at:]
        if replies:
            self._transport.write(b"".join(replies))
            if replies[-1] is BYE:
                self._transport.close()

    def _step(self, unread: bytes, at: int, replies: list[bytes]) -> int:
        """Take one thing from `at` on; answers where the next one begins, `at` if none is whole."""
        if self._chunk_bytes:
            size = min(self._chunk_bytes, len(unread) - at)
            self._chunk_bytes -= size
            if not self._chunk_bytes:
                replies.append(self._end_chunk())
            return at + size
        if self._in_message:
            end = unread.find(END, at)
            if end < 0:
                return max(at, len(unread) - len(END) + 1)
            self._in_message = False
            self._counts.took()
            replies.append(OK)
            return end + len(END)
        end = unread.find(LINE_END, at)
        if end < 0:
            return at
        answer = self._answer(unread[at:end])
        replies.append(answer)
        # The line end of DATA is that before the dot of an empty message.
        return end if answer is GO_ON else end + len(LINE_END)

    def _answer(self, line: bytes) -> bytes:
        match line[:VERB_BYTES].upper():
            case b"DATA":
                self._in_message = True
                return GO_ON
            case b"EHLO":
                return self._hello
            case b"BDAT":
                _, size, *last = line.split()
                self._chunk_bytes, self._is_last_chunk = int(size), bool(last)
                return b"" if self._chunk_bytes else self._end_chunk()
            case b"QUIT":
                return BYE
            case _:
                return OK

    def _end_chunk(self) -> bytes:
        if self._is_last_chunk:
            self._counts.took()
        return OK


async def _serve(counts: Counts, extensions: tuple[bytes, ...]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Session(counts, extensions), "127.0.0.1", 0, backlog=BACKLOG
    )
    tell_port(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def main() -> None:
    """Serve: the file of the counts, then the extensions to offer, are the arguments."""
    path, *extensions = sys.argv[1:]
    offered = (*(extension.encode() for extension in extensions), *SERVED)
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(_serve(Counts(Path(path)), offered))


@contextmanager
def running_sink(
    *, pipelining: bool = True, chunking: bool = False
) -> Iterator[tuple[int, Counts]]:
    """A sink on a free loopback port: the port, and what it counts."""
    extensions = ["PIPELINING"] * pipelining + ["CHUNKING"] * chunking
    with tempfile.NamedTemporaryFile(prefix="heloise-sink-") as file:
        file.truncate(CELLS * CELL_BYTES)
        with listening(__name__, file.name, *extensions) as port:
            yield port, Counts(Path(file.name))


if __name__ == "__main__":
    main()
