"""What a server thinks of an envelope, asked without sending anything."""

from typing import Final

import pytest

from app.domain.outcome.outcome import Fault
from tests.support.servers.smtp_server import DISCONNECT, SILENCE, SmtpServer
from tests.support.smtp_identities import ANN, IMPATIENT, SENDER, session_to

CHECKED: Final = ["MAIL FROM:<billing@example.com>", "RCPT TO:<ann@example.org>", "RSET"]


@pytest.mark.parametrize("extensions", [("PIPELINING", "SMTPUTF8"), ("CHUNKING",), ()])
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({}, ""),
        ({"mail": "550 5.7.1 Helo rejected"}, "550 5.7.1 Helo rejected"),
        ({"rcpt": "450 4.7.1 Helo rejected"}, "450 4.7.1 Helo rejected"),
    ],
)
async def test_a_check_asks_at_mail_and_rcpt_and_takes_it_back(
    extensions: tuple[str, ...], script: dict[str, str], expected: str
) -> None:
    """One by one, whatever the server offers, and never DATA: nothing is sent to anybody."""
    async with (
        SmtpServer(script, extensions=extensions) as server,
        session_to(server) as session,
    ):
        failure = await session.check(SENDER, ANN)
        assert session.is_open
    assert ("" if failure is None else str(failure)) == expected
    commands = server.sessions[0].commands[1:-1]
    assert commands == [
        command for command in CHECKED if "mail" not in script or "RCPT" not in command
    ]


@pytest.mark.parametrize("stage", ["mail", "rcpt", "rset"])
@pytest.mark.parametrize("end", ["421 4.3.2 Bye", DISCONNECT, SILENCE])
async def test_a_check_on_a_server_that_goes_away_says_so(stage: str, end: str) -> None:
    """Unless it has said by then all that was asked."""
    async with (
        SmtpServer({stage: end}) as server,
        session_to(server, timeouts=IMPATIENT) as session,
    ):
        failure = await session.check(SENDER, ANN)
        assert not session.is_open
    assert (None if failure is None else failure.stage.value) == (
        None if stage == "rset" else stage
    )


async def test_a_check_of_an_address_in_another_script_needs_smtputf8() -> None:
    """As a message to it does; nothing is said."""
    async with SmtpServer() as server, session_to(server) as session:
        failure = await session.check(SENDER, "\N{GREEK SMALL LETTER ALPHA}@example.org")
    assert failure is not None
    assert failure.fault is Fault.SMTPUTF8_NOT_OFFERED
    assert len(server.sessions[0].commands) == 2
