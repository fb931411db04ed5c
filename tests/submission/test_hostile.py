"""Hostile clients: each gets a true reply or none, and costs the others nothing."""

import asyncio
import os
import socket
import struct
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final

import pytest

from app.api.requests.body_reader import Pace
from app.submission import session
from app.submission.commands import Mail, Rcpt
from app.submission.content import Trace
from app.submission.dialogue import MAX_ERRORS, Envelope
from app.submission.sasl import Credentials
from app.submission.session_record import Identity
from tests.support.api_client import Caller
from tests.support.submission import HOST, SmtpClient, SubmissionServer, key_of, serving_submission

FROM: Final = b"From: billing@example.com\r\n"
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
SHORT_SECONDS: Final = 0.05


class EasyAccount:
    """An account that may do everything, and keeps nothing."""

    identity = Identity("ten_1", None)

    async def renew(self) -> None:
        """Allow."""

    async def check_sender(self, mail: Mail) -> None:
        """Allow."""

    async def check_recipient(self, rcpt: Rcpt, count: int) -> None:
        """Allow."""

    async def submit(self, envelope: Envelope, content: bytes, trace: Trace) -> str:
        """Take it."""
        assert envelope.rcpts
        assert content.replace(b"BDAT", b"") in {b"", b"DATA\r\n"}
        assert trace.client_name == "a"
        return "msg_1"


async def let_in(credentials: Credentials, client: str | None) -> EasyAccount:
    """Take any credentials."""
    del credentials, client
    return EasyAccount()


WIRE: Final = {
    "EHLO": b"EHLO a\r\n",
    "HELO": b"HELO a\r\n",
    "AUTH": b"AUTH PLAIN AGEAYg==\r\n",
    "MAIL": b"MAIL FROM:<a@example.com>\r\n",
    "RCPT": b"RCPT TO:<b@example.com>\r\n",
    "DATA": b"DATA\r\n",
    "BDAT": b"BDAT 4\r\nBDAT",
    "LAST": b"BDAT 4 LAST\r\nBDAT",
    "RSET": b"RSET\r\n",
    "QUIT": b"QUIT\r\n",
}


@dataclass
class Model:
    """RFC 5321 section 4.1.4, RFC 4954 section 4 and RFC 3030 section 2, in one table's worth."""

    greeting: str | None = None
    is_logged_in: bool = False
    has_mail: bool = False
    rcpt_count: int = 0
    is_in_chunks: bool = False
    is_over: bool = False
    error_count: int = 0
    wire: bytearray = field(default_factory=bytearray)
    classes: list[str] = field(default_factory=list)

    def say(self, command: str) -> None:
        """Note what a client sends, and the class of each reply that it gets."""
        self.wire += WIRE[command]
        is_right = self._is_right(command)
        self.classes.append("2" if is_right else "5")
        self.is_over = command == "QUIT"
        if not is_right:
            # A client pipelines its recipients before it knows that MAIL is refused.
            self.error_count += command != "RCPT" or not self.is_logged_in or self.has_mail
            # A stranger's chunk is not read, so nothing can follow it.
            self.is_over = command in {"BDAT", "LAST"} and not self.is_logged_in
        elif command == "DATA":
            self.wire += b"DATA\r\n.\r\n"
            self.classes[-1:] = "3", "2"
        if is_right:
            self._apply(command)
        if is_right and command in {"DATA", "LAST"}:
            self.error_count = 0
        if self.error_count > MAX_ERRORS and not self.is_over:
            self.is_over = True
            self.classes.append("4")

    def _is_right(self, command: str) -> bool:
        has_rcpts = self.has_mail and self.rcpt_count > 0
        return {
            "AUTH": self.greeting == "EHLO" and not self.is_logged_in and not self.has_mail,
            "MAIL": self.greeting is not None and self.is_logged_in and not self.has_mail,
            "RCPT": self.has_mail and not self.is_in_chunks,
            "DATA": has_rcpts and not self.is_in_chunks,
            "BDAT": has_rcpts,
            "LAST": has_rcpts,
        }.get(command, True)

    def _apply(self, command: str) -> None:
        match command:
            case "EHLO" | "HELO":
                self.greeting = command
            case "AUTH":
                self.is_logged_in = True
            case "MAIL":
                self.has_mail = True
            case "RCPT":
                self.rcpt_count += 1
            case "BDAT":
                self.is_in_chunks = True
        if command in {"EHLO", "HELO", "RSET", "DATA", "LAST"}:
            self.has_mail, self.rcpt_count, self.is_in_chunks = False, 0, False


def walk(words: list[str], length: int) -> Iterator[str]:
    """A sequence in which each sequence of `length` words occurs (de Bruijn's)."""
    digits = [0] * (len(words) * length)

    def extend(position: int, period: int) -> Iterator[str]:
        if position > length:
            if length % period == 0:
                yield from (words[digit] for digit in digits[1 : period + 1])
            return
        digits[position] = digits[position - period]
        yield from extend(position + 1, period)
        for digit in range(digits[position - period] + 1, len(words)):
            digits[position] = digit
            yield from extend(position + 1, position)

    yield from extend(1, 1)


@pytest.mark.one_database
@pytest.mark.parametrize("first", [[], ["EHLO", "AUTH"], ["EHLO", "AUTH", "MAIL", "RCPT"]])
async def test_commands_in_any_order(submission: SubmissionServer, first: list[str]) -> None:
    """Each three commands in a row, after nothing, a login, an envelope: as the RFCs say."""
    commands = list(walk([*WIRE], 3))
    assert len(commands) == len(WIRE) ** 3
    async with serving_submission(submission.api, log_in=let_in) as submission_server:
        while commands:
            model = Model()
            for command in first:
                model.say(command)
            while commands and not model.is_over:
                model.say(commands.pop(0))
            async with submission_server.connect(ehlo=False) as client:
                client.send(bytes(model.wire))
                replies = [await client.reply() for _ in model.classes]
                assert [reply[:1] for reply in replies] == model.classes
                if model.is_over:
                    assert await client.reply() == ""


ENDS: Final = (b"\n", b"\r", b"\r\n", b"\r\r\n", b"\n\r\n", b"\r\n\0", b"\r\0\n")
SMUGGLED: Final = b"MAIL FROM:<eve@example.com>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n"
CORPUS: Final = [
    before + b"." + after
    for before, after in product(ENDS, ENDS)
    if not (before.endswith(b"\r\n") and after.startswith(b"\r\n"))
]


@pytest.mark.one_database
@pytest.mark.parametrize("command", ["DATA", "BDAT"])
async def test_nothing_is_smuggled(
    submission: SubmissionServer, sender: Caller, command: str
) -> None:
    """Only CRLF.CRLF ends content, and a message with another line end is refused."""
    corpus = list(CORPUS)
    while corpus:
        async with submission.login(sender) as client:
            for end in [corpus.pop() for _ in range(min(len(corpus), MAX_ERRORS))]:
                await client.envelope()
                content = FROM + b"\r\nHi" + end + SMUGGLED + FROM + b"\r\nsmuggled\r\n"
                if command == "DATA":
                    assert (await client("DATA"))[:3] == "354"
                    client.send(content + b".\r\n")
                else:
                    client.send(b"BDAT %d LAST\r\n" % len(content) + content)
                reply = await client.reply()
                assert reply.startswith("550 5.6.0 "), (end, reply)
                assert await client("NOOP") == "250 2.0.0 OK"  # nothing was said meanwhile
    assert (await sender.read("/messages"))["items"] == []


def encode(text: str) -> bytes:
    """The text in base64."""
    return b64encode(text.encode())


def cut_points(key: str) -> tuple[bytes, list[int]]:
    """A session with a message, and where it may break: around each line, and within."""
    wire = (
        b"EHLO a\r\nAUTH LOGIN\r\n" + encode("transactional") + b"\r\n" + encode(key) + b"\r\n"
        b"MAIL FROM:<billing@example.com>\r\nRCPT TO:<ann@example.org>\r\nBDAT 9\r\n" + FROM[:9]
    ) + (
        b"RSET\r\nMAIL FROM:<billing@example.com>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n"
        + FROM
        + b"Message-ID: <1@example.com>\r\n\r\nHi\r\n.\r\n"
    )
    line_ends = [at + 2 for at in range(len(wire)) if wire.startswith(b"\r\n", at)]
    return wire, sorted({0, *line_ends, *(at - 1 for at in line_ends)})


@pytest.mark.parametrize("is_reset", [False, True], ids=["close", "reset"])
async def test_a_client_may_go_at_any_point(
    submission: SubmissionServer,
    sender: Caller,
    is_reset: bool,  # noqa: FBT001
) -> None:
    """No half of a message is stored, none twice, and nothing is held for who has gone."""
    wire, points = cut_points(key_of(sender))
    for count, point in enumerate(points, 1):
        with socket.create_connection((HOST, submission.port)) as client:
            client.sendall(wire[:point])
            if is_reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if point == points[-2]:  # the last one sends the whole message
            await submission.wait_idle(count)
            assert (await sender.read("/messages"))["items"] == []
    await submission.wait_idle(len(points))
    assert all(journal.outcome for journal in submission.journals)
    async with submission.login(sender) as again:
        reply = await again.submit(FROM + b"Message-ID: <1@example.com>\r\n\r\nHi\r\n")
    assert reply[:3] == "250"
    assert len((await sender.read("/messages"))["items"]) == 1


async def drip(client: SmtpClient, data: bytes) -> str:
    """Send a byte at a time until the server replies."""
    reply = asyncio.create_task(client.reply())
    for number in range(len(data)):
        if reply.done():
            break
        client.send(data[number : number + 1])
        await asyncio.wait([reply], timeout=SHORT_SECONDS / 10)
    return await reply


@pytest.mark.one_database
@pytest.mark.parametrize("limit", ["LOGIN_SECONDS", "IDLE_SECONDS"])
async def test_a_slow_command_ends_the_session(
    submission: SubmissionServer, sender: Caller, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """Each byte in time is not enough: the line has to come in time."""
    if limit == "LOGIN_SECONDS":
        monkeypatch.setattr(session, limit, SHORT_SECONDS)
    async with submission.connect(ehlo=False) as client:
        if limit == "IDLE_SECONDS":
            await client("EHLO localhost")
            assert (await client.log_in("transactional", key_of(sender)))[:3] == "235"
            monkeypatch.setattr(session, limit, SHORT_SECONDS)
            assert await client("NOOP") == "250 2.0.0 OK"
        assert await drip(client, b"x" * 2000) == "421 4.4.2 Waited too long for the client"
    await submission.wait_idle(1)


@pytest.mark.one_database
@pytest.mark.parametrize("command", [b"DATA\r\n", b"BDAT 50000\r\n"])
async def test_slow_content_ends_the_session(
    submission: SubmissionServer, sender: Caller, monkeypatch: pytest.MonkeyPatch, command: bytes
) -> None:
    """Content has the pace of a request body, and its memory is released."""
    monkeypatch.setattr(session, "Pace", partial(Pace, SHORT_SECONDS))
    async with submission.login(sender) as client:
        await client.envelope()
        client.send(command)
        if command == b"DATA\r\n":
            assert (await client.reply())[:3] == "354"
        assert await drip(client, b"x" * 2000) == "421 4.4.2 Waited too long for the client"
    await submission.wait_idle()
    assert submission.server.connection_count == 0


@pytest.mark.one_database
async def test_words_instead_of_a_handshake(submission: SubmissionServer) -> None:
    """Who does not speak TLS after STARTTLS is not served in plain text."""
    async with submission.connect() as client:
        assert (await client("STARTTLS"))[:3] == "220"
        client.send(b"EHLO localhost\r\nNOOP\r\n")
        with suppress(ConnectionError, UnicodeDecodeError):
            reply = await client.reply()
            assert "250" not in reply
    await submission.wait_idle()


async def test_a_name_that_no_database_stores(submission: SubmissionServer, sender: Caller) -> None:
    """A NUL in a response of LOGIN is refused before it is looked up."""
    async with submission.connect() as client:
        await client("AUTH LOGIN")
        await client(encode("a\0b"))
        assert (await client(encode(key_of(sender))))[:9] == "501 5.5.2"
        assert (await client.log_in("transactional", key_of(sender)))[:3] == "235"


@pytest.mark.one_database
async def test_a_login_that_fails_with_a_bug_is_answered(submission: SubmissionServer) -> None:
    """Temporarily: the client keeps its messages."""

    async def fail(*_: object) -> EasyAccount:
        raise RuntimeError("a bug")

    async with (
        serving_submission(submission.api, log_in=fail) as submission_server,
        submission_server.connect() as client,
    ):
        assert (await client.log_in("transactional", "x"))[:9] == "451 4.3.0"
        assert await client("NOOP") == "250 2.0.0 OK"


@pytest.mark.one_database
@pytest.mark.parametrize("size", [b"", b"x", b"-1", b"1 FIRST", b"9" * 21, b"0x10", b"1_0"])
async def test_a_chunk_without_a_size_ends_the_session(
    submission: SubmissionServer, sender: Caller, size: bytes
) -> None:
    """What follows is content of unknown length, and no commands."""
    async with submission.login(sender) as client:
        await client.envelope()
        client.send(b"BDAT " + size + b"\r\nRSET\r\nNOOP\r\n")
        assert await client.reply() == "521 5.5.4 Write BDAT size or BDAT size LAST"
        assert await client.reply() == ""


def resident_bytes() -> int:
    """How much memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


@pytest.mark.one_database
async def test_one_client_cannot_take_all_connections(submission: SubmissionServer) -> None:
    """Of 500 from one address a quarter is served, and another address still gets in."""
    async with serving_submission(
        submission.api, max_connections=500, max_connections_per_client=125
    ) as submission_server:
        before = resident_bytes()
        writers, greetings = [], []
        for _ in range(500):
            reader, writer = await asyncio.open_connection(HOST, submission_server.port)
            writers.append(writer)
            greetings.append((await reader.readline())[:3])
            if greetings[-1] == b"421":
                writer.close()
            else:
                writer.write(b"EHLO " + b"a" * 1500)  # and never the end of the line
        assert greetings.count(b"220") == 125
        assert greetings.count(b"421") == 375
        async with submission_server.connect(source="127.0.0.2") as client:
            assert await client("NOOP") == "250 2.0.0 OK"
        assert resident_bytes() - before < 32 * 1024 * 1024
        for writer in writers:
            writer.close()
        await submission_server.wait_idle()
