"""A client that does not read its replies is not served on."""

import asyncio

import pytest

from app.submission.stream import MAX_PENDING_REPLIES, ClientGoneError, ClientStream


class FullTransport(asyncio.Transport):
    """A connection whose client reads nothing, or all."""

    def __init__(self, protocol: ClientStream, *, is_full: bool = True) -> None:
        super().__init__()
        self._protocol = protocol
        self._is_full = is_full
        self._is_closing = False
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)
        if self._is_full:
            self._protocol.pause_writing()

    def pause_reading(self) -> None:
        """Do nothing: nothing more comes."""

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        assert not self._is_closing
        self._is_closing = True


async def test_replies_wait_for_the_client() -> None:
    """Few are held in memory, whatever was asked at once."""
    stream = ClientStream()
    transport = FullTransport(stream)
    stream.connection_made(transport)
    stream.data_received(b"HELP\r\n" * 50_000)
    read_count = 0

    async def serve() -> None:
        nonlocal read_count
        while True:
            await stream.read_line(2048, 300)
            read_count += 1
            stream.write(b"214 HELP\r\n")

    serving = asyncio.create_task(serve())
    for _ in range(10):
        await asyncio.sleep(0)
    assert read_count == MAX_PENDING_REPLIES
    assert transport.written == MAX_PENDING_REPLIES * b"214 HELP\r\n"
    stream.resume_writing()
    for _ in range(10):
        await asyncio.sleep(0)
    assert read_count == 2 * MAX_PENDING_REPLIES
    serving.cancel()


@pytest.mark.parametrize("is_full", [False, True])
async def test_a_close_ends_waiting_for_the_client(*, is_full: bool) -> None:
    """For its next command, and for it to read its replies; the last one is sent nevertheless."""
    stream = ClientStream()
    transport = FullTransport(stream, is_full=is_full)
    stream.connection_made(transport)
    stream.write(b"250 OK\r\n")
    waiting = asyncio.create_task(stream.read_line(2048, 300))
    await asyncio.sleep(0)
    stream.write(b"421 Restarting\r\n")
    stream.close()
    stream.close()  # a session that ends closes again
    async with asyncio.timeout(30):
        with pytest.raises(ClientGoneError):
            await waiting
    assert transport.written == b"250 OK\r\n421 Restarting\r\n"


async def test_commands_at_once_do_not_hold_up_others() -> None:
    """Others have their turn after each few commands."""
    stream = ClientStream()
    transport = FullTransport(stream, is_full=False)
    stream.connection_made(transport)
    stream.data_received(b"NOOP\r\n" * 3 * MAX_PENDING_REPLIES)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for _ in range(3 * MAX_PENDING_REPLIES):
        await stream.read_line(2048, 300)
        stream.write(b"250 OK\r\n")
    assert turns >= 2
    counting.cancel()
