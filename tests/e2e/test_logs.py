"""What is logged at the most verbose level holds no secret of a URL or of a login, whoever logs."""

import asyncio
import json
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.support.harness import Heloise, Process, Watched, until
from tests.support.processes.ports import unused_port
from tests.support.servers.receiver import Receiver
from tests.support.servers.smtp_server import SmtpServer
from tests.support.servers.token_server import TokenServer

pytestmark = pytest.mark.one_database

# Not the one that is looked for in the database too, where a URL stands as it was given.
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CANARY = "pelican-4b1d-over-the-coal-mine"


class ImapLogin:
    """An IMAP server that refuses who logs in, and says back what it was told."""

    def __init__(self) -> None:
        self.is_tried = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK [CAPABILITY IMAP4rev1] ready\r\n")
        while line := await reader.readline():
            tag, _, command = line.strip().partition(b" ")
            if command.upper().startswith(b"LOGIN"):
                writer.write(tag + b" NO " + command + b"\r\n")
                self.is_tried.set()
            elif command.upper().startswith(b"CAPABILITY"):
                writer.write(b"* CAPABILITY IMAP4rev1\r\n" + tag + b" OK done\r\n")
            else:
                writer.write(tag + b" OK done\r\n")
        writer.close()


async def test_a_message_is_told_from_request_to_reply(
    start: Start, server: SmtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line when it is accepted and one for the attempt that sent it, with the request's ids."""
    acme = await (await start(log_level="info")).tenant()
    profile = await acme.profile("main", server.port)
    body = {"to": ["ann@example.org"], "subject": "Hello", "text": "It works."}
    headers = {"X-Request-ID": "order-42", "traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
    answer = await acme("POST", "/messages", body, headers=headers)
    message_id = answer.json()["id"]
    lines = list[dict[str, Any]]()

    async def both() -> bool | None:
        text = capsys.readouterr().err.splitlines()
        lines.extend(json.loads(line) for line in text if message_id in line)
        return len(lines) == 2 or None

    await until(both)
    accepted, attempt = lines
    assert accepted["event"] == "message accepted"
    assert accepted["key_id"].startswith("key_")
    assert (attempt["event"], attempt["verdict"], attempt["code"]) == (
        "attempt ended",
        "delivered",
        250,
    )
    for line in lines:
        assert (line["profile"], line["profile_id"]) == ("main", profile["id"])
        assert line["tenant_id"] == acme.tenant_id
        assert (line["request_id"], line["trace_id"]) == ("order-42", TRACE_ID)
        assert "ann@" not in str(line)


async def test_a_failing_profile_is_logged_with_its_fields(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """For programs that read logs: who, where, at which stage and with which reply."""
    async with SmtpServer({"ehlo": "550 5.7.1 Who are you?"}) as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port)
        await acme.send()
        await acme.state("main", "failing")
    [record] = [one for one in caplog.records if one.getMessage().startswith("profile failing")]
    fields = {
        name: getattr(record, name)
        for name in ("profile", "code", "stage", "host", "port", "ehlo_name", "reply_code")
    }
    assert fields == {
        "profile": "main",
        "code": "ehlo_rejected",
        "stage": "ehlo",
        "host": "127.0.0.1",
        "port": server.port,
        "ehlo_name": "main.example.com",
        "reply_code": 550,
    }
    assert record.tenant_id == acme.tenant_id


async def test_no_library_logs_a_secret_of_ours(launch: Any, watched: Watched) -> None:
    """A webhook's URL, a token server's, and the login of a mailbox, each of them used."""
    process: Process = launch("serve", port=unused_port(), log_level="debug")
    await process.wait_ready()
    imap = ImapLogin()
    inbox = await asyncio.start_server(imap.serve, "127.0.0.1", 0)
    with TokenServer() as tokens:
        async with Receiver() as receiver, inbox:
            heloise = Heloise(process.url, watched)
            acme = await heloise.tenant()
            url = f"{receiver.url}/{CANARY}?token={CANARY}"
            await acme.made("/webhooks", {"name": "log", "url": url})
            auth = {
                "mechanism": "oauth2",
                "username": "ann@example.com",
                "allow_plaintext_auth": True,
                "grant": "client_credentials",
                "token_url": f"{tokens.url}?key={CANARY}",
                "client_id": "nobody",
                "client_secret": CANARY,
            }
            await acme.profile("main", receiver.port, auth=auth)
            mailbox = {
                "name": "bounces",
                "host": "127.0.0.1",
                "port": inbox.sockets[0].getsockname()[1],
                "tls": "none",
                "username": "ann",
                "password": CANARY,
            }
            await acme.made("/mailboxes", mailbox)
            verified = await acme("POST", "/profiles/main/verify")
            assert verified.json()["code"] == "oauth_token_refused"
            assert CANARY not in verified.text
            await acme.send()
            await until(imap.is_tried.wait)

            async def is_used() -> bool | None:
                return bool(receiver.posts and tokens.requests) or None

            await until(is_used)
            await heloise.http.aclose()
    process.stop()
    assert '"debug"' in process.log.read_text()
    assert CANARY not in process.log.read_text()
