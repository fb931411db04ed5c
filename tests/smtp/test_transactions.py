"""One session, one mail transaction after another."""

import asyncio
from typing import Any, Final

import pytest

from app.domain.outcome.outcome import Fault, Stage
from app.smtp.body import encode_data
from tests.support.servers.smtp_server import DISCONNECT, SmtpServer
from tests.support.smtp_identities import ANN, IMPATIENT, MIME, send, session_to

BOB: Final = "bob@example.org"
CAROL: Final = "carol@example.org"


async def test_one_session_carries_many_messages() -> None:
    """One connection, one greeting."""
    async with SmtpServer() as server, session_to(server) as session:
        for number in range(50):
            await send(session, mime=b"Subject: %d\r\n\r\nx\r\n" % number)
        assert session.transactions == 50
    (server_session,) = server.sessions
    assert len(server_session.messages) == 50
    assert server_session.messages[49].data == b"Subject: 49\r\n\r\nx\r\n"
    assert server_session.ehlo == ["mail.example.com"]
    assert server_session.commands[-1] == "QUIT"


async def test_the_envelope_is_the_one_that_was_given() -> None:
    """Sender and recipients, in order."""
    async with SmtpServer() as server, session_to(server) as session:
        await send(session, [ANN, BOB, CAROL])
    (message,) = server.messages
    assert message.mail_from == "billing@example.com"
    assert message.recipients == [ANN, BOB, CAROL]


def _refuse(**replies: str) -> Any:
    return lambda address: replies.get(address.partition("@")[0])


async def test_a_refused_recipient_does_not_stop_the_others() -> None:
    """Each refusal is that recipient's (invariant 6)."""
    refusing = _refuse(ann="550 5.1.1 No such user", bob="450 4.2.0 Greylisted")
    async with SmtpServer({"rcpt": refusing}) as server, session_to(server) as session:
        transaction = await send(session, [ANN, BOB, CAROL])
    assert {address: str(failure) for address, failure in transaction.refused.items()} == {
        ANN: "550 5.1.1 No such user",
        BOB: "450 4.2.0 Greylisted",
    }
    assert transaction.reply is not None
    assert server.messages[0].recipients == [CAROL]


async def test_with_every_recipient_refused_no_body_goes_out() -> None:
    """The transaction is reset, and the session takes the next message."""
    script = {"rcpt": ["550 5.1.1 No such user", "550 5.1.1 No such user"]}
    async with SmtpServer(script) as server, session_to(server) as session:
        transaction = await send(session, [ANN, BOB])
        assert set(transaction.refused) == {ANN, BOB}
        assert transaction.reply is transaction.failure is None
        assert (await send(session)).reply is not None
    commands = [line.split()[0] for line in server.sessions[0].commands]
    assert commands == [
        *("EHLO", "MAIL", "RCPT", "RCPT", "DATA", "RSET"),
        *("MAIL", "RCPT", "DATA", "QUIT"),
    ]
    assert len(server.messages) == 1


async def test_too_many_recipients_are_told_apart_from_those_taken() -> None:
    """The server takes three; the rest keep its answer."""
    many = [f"a{number}@example.org" for number in range(5)]
    script = {"rcpt": [None, None, None, *["452 4.5.3 Too many recipients"] * 2]}
    async with SmtpServer(script) as server, session_to(server) as session:
        transaction = await send(session, many)
    assert list(transaction.refused) == many[3:]
    assert server.messages[0].recipients == many[:3]


@pytest.mark.parametrize("stage", ["mail", "data", "dot"])
@pytest.mark.parametrize("reply", ["451 4.3.0 Later", "550 5.7.1 Never"])
async def test_after_a_refusal_the_session_takes_the_next_message(stage: str, reply: str) -> None:
    """On the same connection."""
    async with SmtpServer({stage: [reply]}) as server, session_to(server) as session:
        assert (await send(session)).failure is not None
        assert (await send(session)).reply is not None
    assert len(server.sessions) == 1


@pytest.mark.parametrize("rset", ["421 4.3.2 Bye", "500 What?", DISCONNECT, b"nonsense\r\n"])
async def test_a_session_that_cannot_be_reset_is_closed(rset: Any) -> None:
    """Nobody knows what the server would take the next command for."""
    script = {"mail": "451 4.3.0 Later", "rset": rset}
    async with SmtpServer(script) as server, session_to(server) as session:
        transaction = await send(session)
        assert str(transaction.failure) == "451 4.3.0 Later"
        assert not session.is_open


async def test_421_to_a_recipient_keeps_its_code_and_the_verdicts_before() -> None:
    """The connection is over; who was refused before stays refused."""
    refusing = _refuse(ann="550 5.1.1 No such user", bob="421 4.3.2 Bye")
    async with SmtpServer({"rcpt": refusing}) as server, session_to(server) as session:
        transaction = await send(session, [ANN, BOB, CAROL])
        assert not session.is_open
    assert list(transaction.refused) == [ANN]
    assert transaction.failure is not None
    assert (transaction.failure.stage, str(transaction.failure)) == (Stage.RCPT, "421 4.3.2 Bye")


@pytest.mark.parametrize(
    ("limit", "is_sent"),
    [
        ("SIZE 29", True),
        ("SIZE 28", False),
        ("SIZE 0", True),
        ("SIZE", True),
        ("SIZE \N{SUPERSCRIPT TWO}", True),
        ("SIZE " + "1" * 5000, True),
    ],
)
async def test_a_message_past_the_servers_limit_is_not_sent(limit: str, *, is_sent: bool) -> None:
    """RFC 1870: known before MAIL; no limit, or 0, is none."""
    assert len(MIME) == 29
    async with (
        SmtpServer(extensions=[limit]) as server,
        session_to(server) as session,
    ):
        transaction = await send(session)
        assert session.is_open
    assert (transaction.reply is not None) is is_sent
    if is_sent:
        assert "MAIL FROM:<billing@example.com> SIZE=29" in server.sessions[0].commands
    else:
        assert transaction.failure is not None
        assert transaction.failure.fault is Fault.TOO_LARGE
        assert "at most 28 bytes" in transaction.failure.detail


async def test_the_size_is_not_told_to_a_server_that_does_not_ask() -> None:
    """RFC 5321 section 4.1.1.11: parameters belong to extensions."""
    async with SmtpServer(extensions=[]) as server, session_to(server) as session:
        await send(session)
    assert "MAIL FROM:<billing@example.com>" in server.sessions[0].commands


DOTS: Final = (
    b".",
    b"..",
    b".\r\n",
    b"x\r\n.",
    b"x\r\n.\r\ny",
    b"x\r\n..\r\n.y\r\n",
    b"",
    b"\r\n",
    b"no line end",
    b"\r\n.\r\n\r\n.\r\n",
)


@pytest.mark.parametrize("mime", DOTS)
async def test_dots_arrive_as_they_were(mime: bytes) -> None:
    """RFC 5321 section 4.5.2; a last line without its end gets one."""
    async with SmtpServer() as server, session_to(server) as session:
        await send(session, mime=mime)
        await send(session)
    whole = mime if mime.endswith(b"\r\n") or not mime else mime + b"\r\n"
    assert [message.data for message in server.messages] == [whole, MIME]


SMUGGLED: Final = b"MAIL FROM:<admin@example.com>\r\nRCPT TO:<eve@example.net>\r\nDATA\r\nx"


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\n.\r", b"\r.\r\n"]
)
async def test_no_message_can_end_another_one(end: bytes) -> None:
    """SMTP smuggling: no sequence that some server takes for the end stands on the wire."""
    wire = b"".join(encode_data(b"a" + end + SMUGGLED))
    assert wire.count(b"\n") == wire.count(b"\r") == wire.count(b"\r\n")
    assert wire.find(b"\r\n.\r\n") == len(wire) - 5
    async with SmtpServer() as server, session_to(server) as session:
        await send(session, mime=b"a" + end + SMUGGLED)
    assert len(server.messages) == 1
    assert server.messages[0].data.startswith(b"a\r\n.\r\nMAIL FROM")


async def test_an_address_that_would_be_a_command_cannot_be_sent() -> None:
    """CR and LF in a command are refused before anything is written."""
    async with SmtpServer() as server, session_to(server) as session:
        with pytest.raises(ValueError, match="control character"):
            await send(session, ["a@example.org>\r\nRCPT TO:<eve@example.net"])
        assert (await send(session)).reply is not None
    assert not any("eve" in line for line in server.sessions[0].commands)


@pytest.mark.parametrize(
    ("gate", "stage"),
    [
        ("mail", Stage.MAIL),
        ("rcpt", Stage.RCPT),
        ("data", Stage.DATA),
        ("dot", Stage.DOT),
    ],
)
async def test_a_cancelled_transaction_tells_how_far_it_came(gate: str, stage: Stage) -> None:
    """`stage` says whether the server may have the message; the connection is closed at once."""
    async with SmtpServer() as server, session_to(server) as session:
        server.gates[gate] = asyncio.Event()
        word = "DATA" if gate == "dot" else gate.upper()
        sending = asyncio.create_task(send(session))
        await server.wait_until(
            lambda it: bool(it.messages) if gate == "dot" else _has_seen(it, word)
        )
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert session.stage is stage
        assert not session.is_open


def _has_seen(server: SmtpServer, word: str) -> bool:
    return any(line.startswith(word) for line in server.sessions[0].commands)


async def test_the_stage_begins_anew_with_each_message() -> None:
    """What is left of the last one does not count."""
    async with SmtpServer() as server, session_to(server, timeouts=IMPATIENT) as session:
        await send(session)
        assert session.stage is Stage.DOT
        server.gates["mail"] = asyncio.Event()
        assert (await send(session)).failure is not None
        assert session.stage is Stage.MAIL


async def test_quit_does_not_wait_for_a_server_that_has_gone() -> None:
    """A connection that is closed is left as it is."""
    script = {"dot": [None], "rset": DISCONNECT}
    async with SmtpServer(script) as server, session_to(server) as session:
        await send(session)
        session.abort()
        await session.quit()
        assert not session.is_open
    assert len(server.messages) == 1
