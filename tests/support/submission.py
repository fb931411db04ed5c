"""A submission server behind the API of a test, and a client that says exactly what it is told."""

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import httpx

from app.metrics.collection import Metrics
from app.submission.account import log_in
from app.submission.listener import Listener
from app.submission.server import Server, ServerConfig
from app.submission.session import SessionConfig
from app.submission.session_record import Journal
from tests.support.api_client import Api, Caller
from tests.support.waiting import until

HOSTNAME: Final = "submit.example.com"
HOST: Final = "127.0.0.1"


@dataclass
class SubmissionServer:
    """A running submission server, and the API over the same database."""

    api: Api
    server: Server
    port: int
    tls_port: int
    journals: list[Journal] = field(default_factory=list)

    @asynccontextmanager
    async def connect(
        self, *, ehlo: bool = True, source: str = HOST, authority: ssl.SSLContext | None = None
    ) -> AsyncIterator["SmtpClient"]:
        """A connection to the plain port; with `authority` to that with TLS."""
        port = self.port if authority is None else self.tls_port
        async with connecting(port, ehlo=ehlo, source=source, authority=authority) as client:
            yield client

    @asynccontextmanager
    async def login(
        self, caller: Caller, username: str = "transactional"
    ) -> AsyncIterator["SmtpClient"]:
        """A connection that has logged in with a caller's key."""
        async with self.connect() as client:
            assert await client.log_in(username, key_of(caller)) == "235 2.7.0 Authenticated"
            yield client

    async def stored(self, caller: Caller, reply: str) -> dict[str, Any]:
        """The message that a reply to its content names."""
        message: dict[str, Any] = await caller.read(f"/messages/{message_id_of(reply)}")
        return message

    async def journal(self) -> Journal:
        """The journal of the first session that has ended."""

        async def fact() -> Journal | None:
            return next(iter(self.journals), None)

        return await until(fact)

    async def wait_idle(self, session_count: int = 0) -> None:
        """Return once no client is connected, and so many sessions or more have ended."""

        async def fact() -> bool | None:
            is_idle = self.server.connection_count == 0
            return (is_idle and len(self.journals) >= session_count) or None

        await until(fact, progress=lambda: len(self.journals))

    async def content(self, caller: Caller, reply: str) -> bytes:
        """The bytes of the message that a reply to its content names."""
        answer = await caller("GET", f"/messages/{message_id_of(reply)}/raw")
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.content


@dataclass
class SmtpClient:
    """Says lines, and returns each reply as one text, its lines joined by line feeds."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def __call__(self, line: str | bytes) -> str:
        """Say a line, and return the reply."""
        self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return await self.reply()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    async def reply(self) -> str:
        """The next reply; empty where the server has closed the connection."""
        lines = list[str]()
        async with asyncio.timeout(60):
            while line := (await self.reader.readline()).decode("ascii"):
                lines.append(line.removesuffix("\r\n"))
                assert len(line) <= 512, line  # RFC 5321 section 4.5.3.1.5
                if line[3:4] != "-":
                    break
        return "\n".join(lines)

    async def log_in(self, username: str, password: str) -> str:
        """Log in with AUTH PLAIN."""
        response = b64encode(f"\0{username}\0{password}".encode()).decode()
        return await self(f"AUTH PLAIN {response}")

    async def envelope(
        self, sender: str = "billing@example.com", to: Sequence[str] = ("ann@example.org",)
    ) -> None:
        """Begin a message."""
        assert await self(f"MAIL FROM:<{sender}>") == "250 2.1.0 Sender OK"
        for address in to:
            assert await self(f"RCPT TO:<{address}>") == "250 2.1.5 Recipient OK"

    async def data(self, content: bytes) -> str:
        """Send content with DATA, its dots stuffed, and return the reply."""
        assert (await self("DATA"))[:3] == "354"
        stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
        self.send(stuffed + b".\r\n")
        return await self.reply()

    async def submit(
        self,
        content: bytes,
        sender: str = "billing@example.com",
        to: Sequence[str] = ("ann@example.org",),
    ) -> str:
        """Submit a message, and return the reply to its content."""
        await self.envelope(sender, to)
        return await self.data(content)


@asynccontextmanager
async def connecting(
    port: int, *, ehlo: bool = True, source: str = HOST, authority: ssl.SSLContext | None = None
) -> AsyncIterator[SmtpClient]:
    """A connection to a port on loopback; with `authority` in TLS."""
    reader, writer = await asyncio.open_connection(
        HOST, port, ssl=authority, local_addr=(source, 0)
    )
    client = SmtpClient(reader, writer)
    try:
        assert (await client.reply())[:3] == "220"
        if ehlo:
            assert (await client("EHLO localhost"))[:3] == "250"
        yield client
    finally:
        writer.close()


def key_of(caller: Caller) -> str:
    """The caller's API key."""
    return caller.headers["Authorization"].removeprefix("Bearer ")


def message_id_of(reply: str) -> str:
    """The id in a reply to the content."""
    text = reply.removeprefix("250 2.0.0 Queued as ")
    assert text.startswith("msg_"), reply
    return text


def too_large(size_bytes: int, max_bytes: int) -> str:
    """The reply to a message beyond the limit."""
    return (
        f"552 5.3.4 The message has {size_bytes} bytes or more; the limit is {max_bytes} bytes,"
        " encoding included. Make it smaller, or link to large files."
    )


@asynccontextmanager
async def serving_submission(
    api: Api, context: ssl.SSLContext | None = None, **changes: Any
) -> AsyncIterator[SubmissionServer]:
    """A submission server on two free ports; `changes` are of its configuration."""
    services, metrics = api.services, Metrics(api.services.database, api.services.clock)
    session = SessionConfig(
        log_in=partial(log_in, services, is_deduplicated=changes.pop("is_deduplicated", True)),
        now=services.now,
        hostname=HOSTNAME,
        budget=api.budget,
        max_message_bytes=services.max_message_bytes,
        max_recipients=1000,
        context=lambda: context,
        allows_plaintext_login=True,
    )
    names = session.__dataclass_fields__  # type: ignore[attr-defined]
    of_session = {name: changes.pop(name) for name in list(changes) if name in names}
    journals = list[Journal]()
    config = ServerConfig(
        session=replace(session, **of_session),
        proxies=(),
        max_connections=100,
        max_connections_per_client=100,
        grace_seconds=10,
        new_journal=lambda client, port: Journal(
            client, port, services.now, metrics.submission_refusal, metrics.submission_stored
        ),
        keep=journals.append,
    )
    with socket.create_server((HOST, 0)) as plain, socket.create_server((HOST, 0)) as tls:
        listeners = [Listener(plain), Listener(tls, is_implicit_tls=True)]
        server = Server(replace(config, **changes), listeners)
        async with server.running():
            ports = plain.getsockname()[1], tls.getsockname()[1]
            yield SubmissionServer(api, server, *ports, journals)
