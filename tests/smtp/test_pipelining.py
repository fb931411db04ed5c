"""Several commands in one write (RFC 2920), and the message counted instead of ended (RFC 3030)."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import pytest

from app.domain.outcome.outcome import Fault, Stage
from app.smtp.extensions import Extension
from app.smtp.protocol import Mail
from app.smtp.session import Session
from tests.support.servers.smtp_server import DISCONNECT, SILENCE, SmtpServer
from tests.support.smtp_identities import ANN, IMPATIENT, MIME, SENDER, come_true, send, session_to

BOB: Final = "bob@example.org"
PIPELINED: Final = ("PIPELINING", "8BITMIME")
CHUNKED: Final = (*PIPELINED, "CHUNKING")
BOTH = pytest.mark.parametrize("extensions", [PIPELINED, CHUNKED], ids=["data", "bdat"])


def mail(number: int = 1, recipients: Sequence[str] = (ANN,)) -> Mail:
    """A mail that can be told from others."""
    return Mail(SENDER, recipients, b"Subject: %d\r\n\r\n.x\r\n" % number)


def commands(server: SmtpServer, session: int = 0) -> list[str]:
    """The words of one connection, in order."""
    return [line.split()[0] for line in server.sessions[session].commands]


async def send_all(session: Session, mails: Sequence[Mail]) -> list[Any]:
    """One after the other, each begun together with the content of the one before."""
    coming = iter([*mails[1:], None])
    return [await session.send(mail, next_mail=lambda: next(coming)) for mail in mails]


@BOTH
async def test_an_envelope_is_one_write(extensions: tuple[str, ...]) -> None:
    """All of it has come in before the server has answered to any of it."""
    async with SmtpServer(extensions=extensions) as server:
        gate = server.gates["mail"] = asyncio.Event()
        async with session_to(server) as session:
            sending = asyncio.create_task(send(session, [ANN, BOB]))
            await server.wait_until(lambda it: "MAIL" in commands(it))
            await come_true(lambda: server.sessions[0].unread().count(b"RCPT") == 2)
            gate.set()
            assert (await sending).reply is not None
    assert server.messages[0].recipients == [ANN, BOB]


@BOTH
async def test_the_next_envelope_goes_out_with_the_content(extensions: tuple[str, ...]) -> None:
    """The server has it whole before it has answered to the content; each keeps its own reply."""
    async with SmtpServer(extensions=extensions) as server:
        mails = [mail(number) for number in range(5)]
        server.script["dot"] = [f"250 2.0.0 Ok: queued as {number}" for number in range(5)]
        async with session_to(server) as session:
            outcomes = await send_all(session, mails)
            assert session.transactions == 5
            assert session.begun_mail is None
    assert [str(outcome.reply) for outcome in outcomes] == [
        f"250 2.0.0 Ok: queued as {number}" for number in range(5)
    ]
    assert [message.data for message in server.messages] == [content.mime for content in mails]
    assert commands(server)[-1] == "QUIT"


@BOTH
async def test_the_content_of_one_does_not_wait_for_the_envelope_of_the_next(
    extensions: tuple[str, ...],
) -> None:
    """What became of the first is known while the server thinks about the second."""
    async with SmtpServer(extensions=extensions) as server, session_to(server) as session:
        gate = server.gates["mail"] = asyncio.Event()
        gate.set()
        server.script["dot"] = lambda _: gate.clear()
        following = mail(2)
        first = await session.send(mail(1), next_mail=lambda: following)
        assert first.reply is not None
        assert session.begun_mail is following
        gate.set()
        assert (await session.send(following)).reply is not None


@BOTH
@pytest.mark.parametrize(
    "dot", ["451 4.3.0 Later", "554 5.6.0 Spam"], ids=["temporary", "permanent"]
)
async def test_a_refused_content_is_not_the_next_ones(
    extensions: tuple[str, ...], dot: str
) -> None:
    """The envelope behind it stands, and nothing resets it."""
    async with SmtpServer({"dot": [dot]}, extensions=extensions) as server:
        async with session_to(server) as session:
            first, second = await send_all(session, [mail(1), mail(2)])
        assert str(first.failure) == dot
        assert second.reply is not None
    assert "RSET" not in commands(server)


@BOTH
async def test_who_is_refused_in_the_next_envelope_is_refused_there(
    extensions: tuple[str, ...],
) -> None:
    """Replies are matched to their commands, however they come in."""
    refusing = {"rcpt": lambda address: "550 5.1.1 No" if address == BOB else None}
    async with SmtpServer(refusing, extensions=extensions) as server:
        async with session_to(server) as session:
            first, second, third = await send_all(
                session, [mail(1), mail(2, [BOB]), mail(3, [ANN, BOB])]
            )
            assert (await session.send(mail(4))).reply is not None
        assert first.reply is not None
        assert (set(second.refused), second.reply, second.failure) == ({BOB}, None, None)
        assert (set(third.refused), third.reply is not None) == ({BOB}, True)
    assert [message.recipients for message in server.messages] == [[ANN]] * 3


@BOTH
@pytest.mark.parametrize("dot", ["421 4.3.2 Bye", DISCONNECT])
async def test_a_connection_that_ends_at_the_content_leaves_the_next_one_unsent(
    extensions: tuple[str, ...], dot: str
) -> None:
    """Of the second nothing but its envelope went out: it can be sent elsewhere, without doubt."""
    async with SmtpServer({"dot": dot}, extensions=extensions) as server:
        async with session_to(server) as session:
            first, second = await send_all(session, [mail(1), mail(2)])
        assert first.failure.stage is Stage.DOT
        assert (second.failure.stage, second.failure.fault) == (Stage.MAIL, Fault.DISCONNECTED)
        assert session.stage is Stage.MAIL
    assert len(server.messages) == 1


@BOTH
async def test_a_connection_that_ends_before_the_content_leaves_no_doubt(
    extensions: tuple[str, ...],
) -> None:
    """While somebody thinks about whether the content may go out: it did not (invariant 5)."""
    async with SmtpServer(extensions=extensions) as server, session_to(server) as session:

        async def think(_: object) -> bool:
            server.hang_up()
            await come_true(lambda: not session.is_open)
            return True

        transaction = await session.send(mail(), before_body=think)
        assert transaction.failure is not None
        assert (transaction.failure.stage, transaction.failure.fault) == (
            Stage.DATA,
            Fault.DISCONNECTED,
        )
    assert not server.messages


async def test_354_for_nobody_gets_nothing() -> None:
    """A server that wants the content though it refused everybody: the content is empty."""
    script = {"rcpt": ["550 5.1.1 No such user"], "data": ["354 Go ahead"], "dot": ["554 5.5.1 No"]}
    async with SmtpServer(script, extensions=PIPELINED) as server, session_to(server) as session:
        transaction = await send(session)
        assert set(transaction.refused) == {ANN}
        assert transaction.reply is transaction.failure is None
        assert (await send(session)).reply is not None
    assert [message.data for message in server.messages] == [b"", MIME]
    assert [message.recipients for message in server.messages] == [[], [ANN]]


async def test_354_after_a_refused_sender_closes_the_connection() -> None:
    """Whatever was said next would be taken for the content."""
    script = {"mail": ["550 5.7.1 Never"], "data": ["354 Go ahead"]}
    async with SmtpServer(script, extensions=PIPELINED) as server, session_to(server) as session:
        assert str((await send(session)).failure) == "550 5.7.1 Never"
        assert not session.is_open
    assert not server.messages


@BOTH
async def test_an_envelope_that_was_begun_takes_no_other_mail(extensions: tuple[str, ...]) -> None:
    """The connection is closed instead, and the other mail is sent elsewhere."""
    async with SmtpServer(extensions=extensions) as server, session_to(server) as session:
        await session.send(mail(1), next_mail=lambda: mail(2))
        transaction = await session.send(mail(3))
        assert transaction.failure is not None
        assert transaction.failure.fault is Fault.DISCONNECTED
        assert not session.is_open
    assert len(server.messages) == 1


async def test_nothing_follows_where_somebody_was_refused() -> None:
    """Who is to be tried again at once needs the connection."""
    script = {"rcpt": [None, "452 4.5.3 Too many recipients"]}
    async with SmtpServer(script, extensions=PIPELINED) as server, session_to(server) as session:
        await session.send(mail(1, [ANN, BOB]), next_mail=lambda: mail(2))
        assert session.begun_mail is None


@pytest.mark.parametrize("action", [DISCONNECT, SILENCE, b"nonsense\r\n"])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
async def test_a_server_that_breaks_over_a_group_is_told_from_others(
    stage: str, action: Any
) -> None:
    """So that it is asked one by one from then on; nothing of the message went out."""
    script = {stage: action}
    async with (
        SmtpServer(script, extensions=PIPELINED) as server,
        session_to(server, timeouts=IMPATIENT) as session,
    ):
        transaction = await send(session)
        assert transaction.failure is not None
        assert (transaction.failure.stage, transaction.failure.fault) == (
            Stage(stage),
            Fault.PIPELINING,
        )
        assert not session.is_open
    assert not server.messages


async def test_blank_lines_without_end_end_the_connection() -> None:
    """They say nothing, and are not waited through for ever."""
    script = {"dot": b"\r\n" * 40_000}
    async with SmtpServer(script, extensions=PIPELINED) as server, session_to(server) as session:
        transaction = await send(session)
        assert transaction.failure is not None
        assert transaction.failure.fault is Fault.MALFORMED
        assert not session.is_open


async def test_a_server_that_speaks_unasked_is_not_used_again() -> None:
    """Its next word would be taken for the answer to something."""
    async with SmtpServer(extensions=PIPELINED) as server, session_to(server) as session:
        await send(session)
        server.say(b"421 4.4.2 Timeout\r\n")
        await come_true(lambda: not session.is_open)


@pytest.mark.parametrize("distrusted", [set[Extension](), {Extension.PIPELINING}])
async def test_the_message_is_counted_where_that_is_offered(distrusted: set[Extension]) -> None:
    """BDAT, as it is, without dots doubled; a last line without its end gets one.

    Its first byte goes ahead, on each connection once, so that the server shows that it knows BDAT.
    """
    mime = b"Subject: dots\r\n\r\n.\r\n..\r\nend"
    async with (
        SmtpServer(extensions=CHUNKED) as server,
        session_to(server, distrusted=distrusted) as session,
    ):
        await send(session, mime=mime)
        await send(session)
    assert [message.data for message in server.messages] == [mime + b"\r\n", MIME]
    assert [line for line in server.sessions[0].commands if line.startswith(("BDAT", "DATA"))] == [
        "BDAT 1",
        f"BDAT {len(mime) + 1} LAST",
        f"BDAT {len(MIME)} LAST",
    ]
