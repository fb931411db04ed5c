"""The benchmarks' own servers and clients: a wrong one would measure something else."""

import asyncio
import smtplib
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.delay import measured_round_trip_ms, round_trip_to
from benchmarks.heloise import SQLITE
from benchmarks.results import Row
from benchmarks.rounds import FAILED, Absent, Contestant, Entrants, Measure, Reading, measure_rows
from benchmarks.setting import QUICK, Setting
from benchmarks.smtp import CLIENTS, SMTPLIB
from benchmarks.trial.sink import Counts, running_sink
from benchmarks.trial.submit import END, Server, submit_load

MESSAGES = 25
CONTENT = b"Subject: dots\r\n\r\n.one\r\n..two\r\n\r\n.\r\nand the end\r\n"


@pytest.fixture(params=[(True, False), (False, False), (True, True)], ids=str)
def sink(request: pytest.FixtureRequest) -> Iterator[tuple[int, Counts]]:
    """A sink with and without PIPELINING, and with CHUNKING."""
    pipelining, chunking = request.param
    with running_sink(pipelining=pipelining, chunking=chunking) as running:
        yield running


@pytest.mark.parametrize("name", CLIENTS)
def test_every_client_sends_each_message_once(name: str, sink: tuple[int, Counts]) -> None:
    """Dots at the beginning of a line end no message early."""
    port, counts = sink
    CLIENTS[name](port, CONTENT, MESSAGES, 4)
    assert counts.messages == MESSAGES
    assert counts.first_at_seconds <= counts.last_at_seconds <= time.monotonic()


def test_the_sink_offers_what_it_was_asked_to() -> None:
    """And nothing else that a client would use."""
    with (
        running_sink(pipelining=False, chunking=True) as (port, _),
        smtplib.SMTP("127.0.0.1", port) as session,
    ):
        session.ehlo()
        assert session.has_extn("chunking")
        assert not session.has_extn("pipelining")


def test_the_sink_takes_bdat_and_an_empty_message() -> None:
    """RFC 3030: a message in two chunks; RFC 2920: a dot alone for nobody."""
    with running_sink(chunking=True) as (port, counts):
        assert asyncio.run(_dialogue(port)) == [220, 250, 250, 250, 250, 250, 354, 250, 221]
        assert counts.messages == 2


async def _dialogue(port: int) -> list[int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"HELO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n"
        b"BDAT 3\r\na\r\nBDAT 5 LAST\r\n\n.\r\n.DATA\r\n.\r\nQUIT\r\n"
    )
    replies = (await reader.read()).splitlines()
    writer.close()
    await writer.wait_closed()
    return [int(line[:3]) for line in replies]


def test_the_proxy_makes_a_round_trip_longer() -> None:
    """By what was asked for at the least, and whole messages come through it."""
    with running_sink() as (port, counts), round_trip_to(port, milliseconds=30) as far_port:
        assert measured_round_trip_ms(far_port) >= 30
        CLIENTS[SMTPLIB](far_port, CONTENT, 2, 1)
        assert counts.messages == 2


def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """A setting of three rounds without PostgreSQL."""
    return Setting(folder=tmp_path_factory.mktemp("bench"), size=QUICK, new_postgresql=None)


def test_contestants_take_turns(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each is the first once, who fails is named, and the others go on."""
    order: list[str] = []

    def contestant(name: str, *, fails: bool = False) -> Contestant:
        def run() -> Reading:
            order.append(name)
            if fails:
                raise ConnectionError("gone")
            return Reading(float(len(order)), {"detail": 1.0})

        return Contestant(name, run)

    def enter(*_: object) -> Entrants:
        yield contestant("a")
        yield contestant("b")
        yield contestant("c", fails=True)
        yield Absent(SQLITE, "not here")

    results = list(
        measure_rows(Measure(name="m", title="M", enter=enter), setting(tmp_path_factory))
    )
    absent = {result.name: result.reason for result in results if isinstance(result, Absent)}
    assert absent == {SQLITE: "not here", "c": f"{FAILED} ConnectionError('gone')"}
    assert order == ["a", "b", "c", "b", "a", "a", "b"]
    rows = [result for result in results if isinstance(result, Row)]
    assert [(row.contestant, row.values) for row in rows] == [("a", [1, 5, 6]), ("b", [2, 4, 7])]


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[Server]:
    """A server that speaks as `serve` does; each connection is closed when the block ends."""
    tasks = list[asyncio.Task[None] | None]()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        await serve(reader, writer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield Server((server.sockets[0].getsockname()[1],), "ann", "secret")
        await asyncio.gather(*(task for task in tasks if task is not None))


async def test_the_submission_client_gives_each_message_an_id_of_its_own() -> None:
    """A server stores a Message-ID once; a time for each message, and dots are doubled."""
    bodies = set[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        assert await reader.readline() == b"EHLO mail.example.com\r\n"
        writer.write(b"250-here\r\n250 AUTH PLAIN\r\n")
        assert await reader.readline() == b"AUTH PLAIN %b\r\n" % b64encode(b"\0ann\0secret")
        writer.write(b"235 welcome\r\n")
        while await reader.readline():
            await reader.readuntil(b"DATA\r\n")
            writer.write(b"250 sender\r\n250 recipient\r\n354 go on\r\n")
            bodies.add(await reader.readuntil(END))
            writer.write(b"250 stored\r\n")

    async with serving(serve) as server:
        content = b"Message-ID: <1@example.com>\r\n\r\n.dot\r\n"
        load = await submit_load(server, content, messages=MESSAGES, connections=4)
    assert len(load.latencies_seconds) == load.statuses[250] == len(bodies) == MESSAGES
    assert all(b"@example.com>\r\n\r\n..dot\r\n.\r\n" in body for body in bodies)


async def test_the_submission_client_says_what_is_refused() -> None:
    """A message that is not accepted would make the figure too good."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"421 too many\r\n")

    async with serving(serve) as server:
        with pytest.raises(ConnectionError, match="answered 421, not 220"):
            await submit_load(server, CONTENT, messages=1, connections=1)
