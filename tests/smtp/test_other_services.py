"""A profile is no means to look around with: what is no mail server is told as that alone."""

import asyncio
from typing import Final

import pytest

from app.domain.outcome.outcome import Fault, Stage
from app.smtp.session_opening import OpenFailure, open_session
from tests.support.servers.smtp_server import SmtpServer
from tests.support.smtp_identities import ANYWHERE, IMPATIENT, identity

SECRET: Final = "inventory-7"
GREETINGS: Final = [
    f"SSH-2.0-OpenSSH_9.2p1 {SECRET}\r\n",
    f"HTTP/1.1 400 Bad Request\r\nServer: {SECRET}\r\n\r\n",
    f"* OK [CAPABILITY IMAP4rev1] {SECRET} ready\r\n",
    f"+OK {SECRET} POP3 ready\r\n",
    f"-ERR wrong number of arguments, {SECRET}\r\n",
    f"J\0\0\0\n5.5.5-{SECRET}\0\r\n",
]


@pytest.mark.parametrize("greeting", GREETINGS)
async def test_the_greeting_of_another_service_is_not_told(greeting: str) -> None:
    """Neither in the failure nor in the dialogue."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting.encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, SmtpServer() as known:
        port = server.sockets[0].getsockname()[1]
        failure = await open_session(identity(known, port=port, timeouts=IMPATIENT), ANYWHERE)
    assert isinstance(failure, OpenFailure)
    assert (failure.failure.stage, failure.failure.fault) == (Stage.BANNER, Fault.MALFORMED)
    assert "did not speak SMTP" in failure.failure.detail
    report = f"{failure.failure} {failure.facts} {failure.transcript.text}"
    assert SECRET not in report
