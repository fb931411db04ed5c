"""What a client asks of DSN at submission is what the next server is asked (RFC 3461)."""

import socket
from typing import Final

import pytest

from app.submission.listener import Listener
from tests.support.harness import Watched, serving, settings
from tests.support.servers.smtp_server import SmtpServer
from tests.support.submission import HOST, connecting, key_of, message_id_of

EXTENSIONS: Final = ("PIPELINING", "8BITMIME", "SIZE 33554432")
SENDER: Final = "main@example.com"
MAIL: Final = f"MAIL FROM:<{SENDER}>"
RCPTS: Final = {
    "ann@example.org": " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old+2Bann@example.org",
    "bob@example.org": " NOTIFY=NEVER",
    "eve@example.org": "",
}


@pytest.mark.one_database
@pytest.mark.parametrize("offered", ["DSN", None])
async def test_dsn_is_asked_of_servers_that_offer_it(
    migrated_url: str, watched: Watched, offered: str | None
) -> None:
    """For each recipient its own; a server without DSN sees no parameter that it would refuse."""
    extensions = EXTENSIONS if offered is None else (*EXTENSIONS, offered)
    values = settings(migrated_url, submission_allow_plaintext_auth=True)
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]
        async with (
            SmtpServer(extensions=extensions) as server,
            serving(values, watched, listeners=[Listener(listening)]) as heloise,
        ):
            acme = await heloise.tenant()
            await acme.profile("main", server.port)
            async with connecting(port) as client:
                assert (await client.log_in("main", key_of(acme)))[:3] == "235"
                assert (await client(f"{MAIL} RET=HDRS ENVID=order+2B42"))[:3] == "250"
                for address, parameters in RCPTS.items():
                    assert (await client(f"RCPT TO:<{address}>{parameters}"))[:3] == "250"
                reply = await client.data(f"From: {SENDER}\r\n\r\nHi\r\n".encode())
            await acme.message(message_id_of(reply), status="sent")
    commands = [command for session in server.sessions for command in session.commands]
    [mail] = [command for command in commands if command.startswith("MAIL")]
    rcpts = [command for command in commands if command.startswith("RCPT")]
    if offered is None:
        assert "RET=" not in mail
        assert "ENVID=" not in mail
        assert rcpts == [f"RCPT TO:<{address}>" for address in RCPTS]
        return
    assert mail.startswith(MAIL)
    assert {"RET=HDRS", "ENVID=order+2B42"} <= set(mail.split())
    assert rcpts == [
        f"RCPT TO:<ann@example.org>{RCPTS['ann@example.org']}",
        "RCPT TO:<bob@example.org> NOTIFY=NEVER ORCPT=rfc822;bob@example.org",
        "RCPT TO:<eve@example.org> ORCPT=rfc822;eve@example.org",
    ]
