"""What is kept of a dialogue: all that was said, bounded, and nothing that is secret."""

import base64
import re
from collections.abc import Sequence
from typing import Any, Final

import pytest

from app.domain.outcome.dialogue_lines import Line
from app.domain.outcome.outcome import Failure, Stage
from app.domain.types import TlsMode
from app.smtp.protocol import Mail
from app.smtp.session import Session
from app.smtp.session_opening import OpenFailure
from app.smtp.transcript import MAX_LINE_CHARACTERS, MAX_LINES, Transcript
from tests.smtp.conftest import ServerTls
from tests.support.servers.smtp_server import DISCONNECT, SILENCE, SmtpServer
from tests.support.smtp_identities import ANN, IMPATIENT, MIME, SENDER, send, session_to, try_open

PASSWORD: Final = "correct horse battery"
WHO: Final = {"username": "ann", "password": PASSWORD, "allow_plaintext_auth": True}
USERS: Final = {"ann": PASSWORD}
PLAIN: Final = ("8BITMIME",)
MECHANISMS: Final = ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"]


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ECHOES: Final = [
    PASSWORD,
    PASSWORD.upper(),
    _b64(PASSWORD),
    _b64(f"\0ann\0{PASSWORD}"),
]


def _texts(lines: Sequence[Line]) -> list[str]:
    """`C`, `S` or `N`, and the text; what differs from run to run is left out."""
    texts = [f"{line.by[0].upper()} {line.text}" for line in lines]
    return [re.sub(r"port \d+|\d+\.\d s", "…", text) for text in texts]


ENVELOPE: Final = {
    "C MAIL FROM:<billing@example.com>",
    "C RCPT TO:<ann@example.org>",
    "S 250 2.1.0 Ok",
    "S 250 2.1.5 Ok",
}


async def test_the_dialogue_is_told_line_by_line() -> None:
    """Who said what at which stage, from the connection to the message's end."""
    async with SmtpServer(extensions=PLAIN) as server, session_to(server) as session:
        await send(session)
        lines = session.transcript.lines
    assert _texts(lines) == [
        "N connected to 127.0.0.1 …",
        "S 220 mx.test.invalid ESMTP",
        "C EHLO mail.example.com",
        "S 250-mx.test.invalid greets mail.example.com",
        "S 250 8BITMIME",
        "C MAIL FROM:<billing@example.com>",
        "S 250 2.1.0 Ok",
        "C RCPT TO:<ann@example.org>",
        "S 250 2.1.5 Ok",
        "C DATA",
        "S 354 End data with <CR><LF>.<CR><LF>",
        f"N sending the message: {len(MIME)} bytes",
        "S 250 2.0.0 Ok: queued as 4XyZ",
    ]
    assert [line.stage.value for line in lines] == [
        *("tcp", "banner", "ehlo", "ehlo", "ehlo"),
        *("mail", "mail", "rcpt", "rcpt", "data", "data", "dot", "dot"),
    ]
    assert [line.ms for line in lines] == sorted(line.ms for line in lines)


@pytest.mark.parametrize(
    ("extensions", "commands"),
    [
        (["PIPELINING"], {"C DATA"}),
        (["PIPELINING", "CHUNKING"], set[str]()),
        (["CHUNKING"], set[str]()),
    ],
)
async def test_what_is_said_at_once_is_told_command_by_command(
    extensions: list[str], commands: set[str]
) -> None:
    """Each at its own stage; with CHUNKING there is no DATA."""
    async with SmtpServer(extensions=extensions) as server, session_to(server) as session:
        await send(session)
        lines = session.transcript.lines
    assert set(_texts(lines)) >= ENVELOPE
    assert {"C DATA"} & set(_texts(lines)) == commands
    at_rcpt = [line.text for line in lines if line.stage is Stage.RCPT]
    assert at_rcpt == ["RCPT TO:<ann@example.org>", "250 2.1.5 Ok"]


async def test_the_message_itself_is_not_kept() -> None:
    """No more than how long it is, whether it goes by DATA or BDAT, at once or in blocks."""
    for extensions in (PLAIN, ["PIPELINING"], ["CHUNKING"]):
        for size in (1, 40_000):
            async with SmtpServer(extensions=extensions) as server, session_to(server) as session:
                await send(session, mime=MIME + b"a private word\r\n" * size)
                transcript = "\n".join(_texts(session.transcript.lines))
            assert "private" not in transcript
            assert f"{len(MIME) + 16 * size} bytes" in transcript


async def test_tls_is_told_between_the_greetings(server_tls: ServerTls, ca_pem: str) -> None:
    """Its version and its cipher."""
    async with (
        SmtpServer(tls=server_tls(), extensions=PLAIN) as server,
        session_to(server, tls=TlsMode.STARTTLS, tls_ca=ca_pem) as session,
    ):
        texts = _texts(session.transcript.lines)
        (tls,) = [line for line in session.transcript.lines if line.text.startswith("TLS")]
    assert (tls.stage, tls.by) == (Stage.TLS, "note")
    assert tls.text == f"{session.facts.tls_version} {session.facts.tls_cipher}"
    assert [text for text in texts if text[0] in "CN"] == [
        "N connected to 127.0.0.1 …",
        "C EHLO mail.example.com",
        "C STARTTLS",
        f"N {tls.text}",
        "C EHLO mail.example.com",
    ]


@pytest.mark.parametrize(
    ("mechanism", "expected"),
    [
        ("PLAIN", ["C AUTH PLAIN ***"]),
        ("LOGIN", ["C AUTH LOGIN ***", "S 334 ***", "C ***"]),
        ("CRAM-MD5", ["C AUTH CRAM-MD5", "S 334 ***", "C ***"]),
        ("SCRAM-SHA-256", ["C AUTH SCRAM-SHA-256 ***", "S 334 ***", "C ***", "S 334 ***", "C ***"]),
    ],
)
async def test_of_auth_only_the_mechanism_is_told(mechanism: str, expected: list[str]) -> None:
    """And that there was a challenge, and the last word."""
    async with (
        SmtpServer(users=USERS, mechanisms=[mechanism]) as server,
        session_to(server, **WHO) as session,
    ):
        auth = [line for line in session.transcript.lines if line.stage is Stage.AUTH]
    texts = [text.rstrip() for text in _texts(auth)]
    assert texts == [*expected, "S 235 2.7.0 Authentication successful"]


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_a_password_that_is_refused_and_said_back_is_not_kept(
    mechanism: str, echo: str
) -> None:
    """Invariant 9."""
    script = {"auth": f"535 5.7.8 ann says {echo}, which is wrong"}
    async with SmtpServer(script, users=USERS, mechanisms=[mechanism]) as server:
        failure = await try_open(server, **WHO)
    assert isinstance(failure, OpenFailure)
    last = failure.transcript.lines[-1]
    assert last.text == "535 5.7.8 ann says ***, which is wrong"
    assert echo not in repr((failure.failure, failure.facts, failure.transcript.lines))


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("stage", ["banner", "ehlo", "auth", "mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize("extensions", [(), ["PIPELINING"], ["PIPELINING", "CHUNKING"]])
async def test_a_password_said_at_any_stage_is_not_kept(
    extensions: Sequence[str], stage: str, echo: str
) -> None:
    """Invariant 9: neither in the transcript, nor in the facts, nor in what came of it."""
    code = {"banner": 220, "auth": 235, "data": 354}.get(stage, 250)
    lines = ["hello", *extensions, "AUTH PLAIN", f"{echo} is what you said"]
    usual = f"{code} {echo} is what you said"
    reply = "\n".join(f"250 {line}" for line in lines) if stage == "ehlo" else usual
    async with (
        SmtpServer({stage: reply}, users=USERS, extensions=extensions) as server,
        session_to(server, **WHO) as session,
    ):
        transaction = await send(session)
        records = repr((transaction, session.facts, session.transcript.lines))
    assert transaction.reply is not None
    assert echo not in records
    is_said = stage != "data" or "CHUNKING" not in extensions
    assert ("*** is what you said" in records) is is_said


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("stage", ["banner", "ehlo", "mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize("reply", ["554 5.7.1 {}", "999 {}", "nonsense {}\r\n"])
async def test_a_password_in_a_refusal_is_not_kept(stage: str, reply: str, echo: str) -> None:
    """Invariant 9: nor where it is no reply at all, and the words of the fault quote it."""
    reply_text: Any = reply.format(echo)
    script = {stage: reply_text.encode() if reply_text.endswith("\n") else reply_text}
    async with SmtpServer(script, users=USERS, extensions=PLAIN) as server:
        result = await try_open(server, timeouts=IMPATIENT, **WHO)
        if isinstance(result, Session):
            transaction = await send(result)
            assert transaction.reply is None
            records = repr((transaction, result.facts, result.transcript.lines))
            result.abort()
        else:
            records = repr((result.failure, result.facts, result.transcript.lines))
    assert echo not in records


async def test_a_later_message_is_told_which_connection_it_went_by() -> None:
    """Of those before it nothing is kept; the note comes first, though its envelope went ahead."""
    async with (
        SmtpServer(extensions=["PIPELINING"]) as server,
        session_to(server) as session,
    ):
        for _ in range(3):
            await send(session)
        alone = session.transcript.lines
    assert _texts(alone)[0] == (
        "N message 3 on the connection to 127.0.0.1, opened … ago as mail.example.com, no TLS"
    )
    assert set(_texts(alone)) >= ENVELOPE
    assert sum(line.text.startswith("MAIL") for line in alone) == 1


async def test_a_message_whose_envelope_went_ahead_begins_with_the_note_too() -> None:
    """What was said before the note was asked for is told after it."""
    second = Mail(SENDER, [ANN], MIME)
    async with (
        SmtpServer(extensions=["PIPELINING"]) as server,
        session_to(server) as session,
    ):
        await session.send(Mail(SENDER, [ANN], MIME), next_mail=lambda: second)
        assert session.begun_mail is second
        await session.send(second)
        lines = session.transcript.lines
    assert lines[0].text.startswith("message 2 on the connection")
    assert lines[1].text.startswith("MAIL")
    assert set(_texts(lines)) >= ENVELOPE


@pytest.mark.parametrize(
    ("action", "note"),
    [
        (DISCONNECT, "the server closed the connection"),
        (SILENCE, "did not answer in time"),
    ],
)
async def test_how_a_connection_ended_is_the_last_note(action: str, note: str) -> None:
    """While it was opened as well as afterwards."""
    for stage in ("ehlo", "mail"):
        async with SmtpServer({stage: action}, extensions=PLAIN) as server:
            result = await try_open(server, timeouts=IMPATIENT)
            if isinstance(result, Session):
                await send(result)
                result.abort()
        last = result.transcript.lines[-1]
        assert (last.stage.value, last.by) == (stage, "note")
        assert note in last.text


async def test_an_endless_dialogue_is_bounded() -> None:
    """Of long lines the end is left out, of many lines the middle, with a note of how many."""
    many = [f"a{number}@example.org" for number in range(400)]
    script = {"rcpt": lambda _: "250 " + "x" * 1000}
    async with SmtpServer(script, extensions=PLAIN) as server, session_to(server) as session:
        await send(session, many)
        lines = session.transcript.lines
    assert len(lines) == MAX_LINES + 1
    assert max(len(line.text) for line in lines) == MAX_LINE_CHARACTERS
    (note,) = [line.text for line in lines if "omitted" in line.text]
    assert note == f"{5 + 2 + 2 * 400 + 2 + 2 - MAX_LINES} lines omitted"
    assert lines[1].text.startswith("220")
    assert lines[-1].text == "250 2.0.0 Ok: queued as 4XyZ"


def test_a_refusal_is_kept_without_what_is_secret() -> None:
    """The transcript knows what that is, and so cleans what is kept besides it."""
    transcript = Transcript(["hunter2"])
    failure = Failure(Stage.MAIL, detail="it said Hunter2")
    assert transcript.redact_failure(failure).detail == "it said ***"
