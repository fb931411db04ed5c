"""One connection of the scripted SMTP server: the protocol, and what was seen of the client."""

import asyncio
import base64
import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.support.servers.smtp_sasl import bearer, scram

if TYPE_CHECKING:
    from tests.support.servers.smtp_server import SmtpServer

DISCONNECT: Final = "(disconnect)"
RESET: Final = "(reset)"
SILENCE: Final = "(silence)"
HALF_CLOSE: Final = "(half close)"
BROKEN_TLS: Final = "(broken tls)"
BROKEN_RECORD: Final = "(broken record)"
ENDLESS: Final = "(endless)"
DRIBBLE: Final = "(dribble)"
IGNORE: Final = "(ignore)"
SLOWLY: Final = b"\0slowly"
TAKEN: Final = "250 2.0.0 Ok: queued as 4XyZ"

Action = str | bytes | None


def slowly(reply: str) -> bytes:
    """The reply a byte at a time."""
    return SLOWLY + reply.encode() + b"\r\n"


@dataclass
class Received:
    """A message that came in whole, whatever was answered to it."""

    mail_from: str
    recipients: list[str]
    data: bytes
    session: "Seen"


@dataclass
class Seen:
    """What one connection showed of its client; `unread` is what was not looked at yet."""

    peer: str
    commands: list[str] = field(default_factory=list)
    ehlo: list[str] = field(default_factory=list)
    helo: list[str] = field(default_factory=list)
    mechanism: str | None = None
    user: str | None = None
    tls_version: str | None = None
    client_certificate: dict[str, Any] | None = None
    messages: list[Received] = field(default_factory=list)
    unread: Callable[[], bytes] = bytes

    @property
    def name(self) -> str:
        """The name it greeted with last."""
        return (self.ehlo or self.helo)[-1]


class GoneError(Exception):
    """The dialogue is over."""


class NotChallengedError(Exception):
    """The server said no where a challenge would have been."""


class Dialogue:
    """What the server says and does on one connection."""

    def __init__(
        self, server: "SmtpServer", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.seen = Seen(peer=writer.get_extra_info("peername")[0])
        self.seen.unread = lambda: bytes(reader._buffer)  # type: ignore[attr-defined] # noqa: SLF001 - nothing public tells
        self.mail_from: str | None = None
        self.recipients: list[str] = []
        self.chunks = b""
        server.sessions.append(self.seen)

    async def run(self) -> None:
        self._note_tls()
        await self.answer("banner", "", "220 mx.test.invalid ESMTP")
        while line := await self.reader.readline():
            text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            self.seen.commands.append(text)
            self.server.note()
            verb, _, argument = text.partition(" ")
            handler = getattr(self, f"on_{verb.lower()}", None)
            if handler is None:
                await self.write("500 5.5.2 Error: command not recognized")
            else:
                await handler(argument)

    async def answer(self, stage: str, argument: str, usual: str) -> bool:
        """Do what the script says, or the usual; answers whether it was positive."""
        action = self.server.action(stage, argument)
        if stage in self.server.gates:
            await self.server.gates[stage].wait()
        return await self.answer_with(usual if action is None else action)

    async def answer_with(self, reply: str | bytes) -> bool:
        """Say it, or do it; answers whether it was positive."""
        await self._end(reply)
        await self.write(reply)
        if isinstance(reply, str) and reply.startswith("421"):
            raise GoneError
        text = reply if isinstance(reply, str) else reply.removeprefix(SLOWLY).decode("latin-1")
        return text.lstrip().startswith(("2", "3"))

    async def _end(self, action: str | bytes) -> None:
        """Be silent, or gone; return where the action is neither."""
        if action == HALF_CLOSE:
            self.writer.write_eof()
        if action == BROKEN_RECORD:
            os.write(
                self.writer.get_extra_info("socket").fileno(), b"this is no TLS record\r\n" * 4
            )
        if action in (SILENCE, HALF_CLOSE, BROKEN_RECORD):
            await asyncio.Event().wait()
        while action == ENDLESS:  # lines of a reply, of which none is the last
            await self.write(b"250-and this is not all\r\n" * 100)
        while action == DRIBBLE:  # so that nobody can say that nothing came
            await self.write(b"2")
            await asyncio.sleep(0.05)
        if action == RESET:
            self.writer.transport.abort()
        if action in (DISCONNECT, RESET):
            raise GoneError

    async def write(self, reply: str | bytes) -> None:
        if isinstance(reply, bytes) and reply.startswith(SLOWLY):
            for byte in reply.removeprefix(SLOWLY):
                self.writer.write(bytes([byte]))
                await self.writer.drain()
                await asyncio.sleep(0)
            return
        self.writer.write(reply if isinstance(reply, bytes) else _wire(reply))
        await self.writer.drain()

    def _note_tls(self) -> None:
        tls = self.writer.get_extra_info("ssl_object")
        if tls is not None:
            self.seen.tls_version = tls.version()
            self.seen.client_certificate = tls.getpeercert()

    async def on_ehlo(self, argument: str) -> None:
        self.seen.ehlo.append(argument)
        offered = list(self.server.extensions)
        if self.server.tls is not None and self.seen.tls_version is None:
            offered.append("STARTTLS")
        if self.server.users or self.server.tokens:
            offered.append("AUTH " + " ".join(self.server.mechanisms))
        lines = [f"mx.test.invalid greets {argument}", *offered]
        await self.answer("ehlo", argument, "\n".join(f"250 {line}" for line in lines))

    async def on_helo(self, argument: str) -> None:
        self.seen.helo.append(argument)
        await self.answer("helo", argument, "250 mx.test.invalid")

    async def on_starttls(self, argument: str) -> None:
        if not await self.answer("starttls", argument, "220 2.0.0 Ready to start TLS"):
            return
        action = self.server.action("tls", "")
        if action == BROKEN_TLS:
            await self.reader.read(1)
            await self.write(b"this is no TLS record\r\n" * 4)
        if action is not None:
            await self._end(action)
            raise GoneError
        assert self.server.tls is not None
        await self.writer.start_tls(self.server.tls)
        self._note_tls()

    async def on_auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        action = self.server.action("mechanism", argument)
        if action == IGNORE:
            initial = ""
        elif action is not None:
            await self.answer_with(action)
            return
        try:
            user, is_right = await self._credentials(mechanism.upper(), initial)
        except NotChallengedError:
            return
        self.seen.mechanism = mechanism.upper()
        usual = "235 2.7.0 Authentication successful" if is_right else "535 5.7.8 Bad credentials"
        if await self.answer("auth", user, usual):
            self.seen.user = user

    async def _credentials(self, mechanism: str, initial: str) -> tuple[str, bool]:
        if mechanism == "PLAIN":
            raw = base64.b64decode(initial or await self._challenge(""))
            _, user, password = raw.decode().split("\0")
        elif mechanism == "LOGIN":
            user = base64.b64decode(initial or await self._challenge("Username:")).decode()
            password = base64.b64decode(await self._challenge("Password:")).decode()
        elif mechanism == "SCRAM-SHA-256":
            return await scram(initial, self._challenge, self.server.users)
        elif mechanism in ("XOAUTH2", "OAUTHBEARER"):
            return await bearer(mechanism, initial, self._challenge, self.server)
        else:
            challenge = "<1896.697170952@mx.test.invalid>"
            raw = base64.b64decode(await self._challenge(challenge))
            user, _, digest = raw.decode().partition(" ")
            known = self.server.users.get(user, "").encode()
            expected = hmac.new(known, challenge.encode(), hashlib.md5).hexdigest()
            return user, user in self.server.users and hmac.compare_digest(digest, expected)
        return user, self.server.users.get(user) == password

    async def _challenge(self, text: str) -> str:
        usual = f"334 {base64.b64encode(text.encode()).decode()}"
        if not await self.answer("challenge", text, usual):
            raise NotChallengedError
        if not (line := await self.reader.readline()):
            raise GoneError
        return line.decode().strip()

    async def on_mail(self, argument: str) -> None:
        usual = "250 2.1.0 Ok"
        if (self.server.users or self.server.tokens) and self.seen.user is None:
            usual = "530 5.7.0 Authentication required"
        if await self.answer("mail", argument, usual):
            self.mail_from, self.recipients = _path(argument), []

    async def on_rcpt(self, argument: str) -> None:
        if self.mail_from is None:
            await self.write("503 5.5.1 Error: need MAIL command")
        elif await self.answer("rcpt", _path(argument), "250 2.1.5 Ok"):
            self.recipients.append(_path(argument))

    async def on_data(self, argument: str) -> None:
        usual = "354 End data with <CR><LF>.<CR><LF>"
        if not self.recipients:
            usual = "554 5.5.1 Error: no valid recipients"
        if not await self.answer("data", argument, usual):
            return
        if (action := self.server.action("body", "")) is not None:
            await self.reader.read(1)
            await self._end(action)
            await self.write(action)
            await asyncio.Event().wait()
        await self._take(await self._body())

    async def on_bdat(self, argument: str) -> None:
        size, _, last = argument.partition(" ")
        action = self.server.action("bdat", argument)
        if action is not None:  # as one that does not know it: what comes next is read by lines
            await self.answer_with(action)
            return
        if last and (action := self.server.action("body", "")) is not None:
            await self._end(action)
        self.chunks += await self.reader.readexactly(int(size))
        if not self.recipients:
            self.chunks = b""
            await self.write("503 5.5.1 Error: no valid recipients")
        elif last:
            data, self.chunks = self.chunks, b""
            await self._take(data)
        else:
            await self.write(f"250 2.0.0 Ok: {size} bytes")

    async def _take(self, data: bytes) -> None:
        message = Received(self.mail_from or "", self.recipients, data, self.seen)
        self.seen.messages.append(message)
        self.server.note()
        self.mail_from, self.recipients = None, []
        await self.answer("dot", ",".join(message.recipients), TAKEN)

    async def _body(self) -> bytes:
        lines = list[bytes]()
        while (line := await self.reader.readline()) != b".\r\n":
            if not line:
                raise GoneError
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    async def on_rset(self, argument: str) -> None:
        self.mail_from, self.recipients, self.chunks = None, [], b""
        await self.answer("rset", argument, "250 2.0.0 Ok")

    async def on_noop(self, argument: str) -> None:
        await self.answer("noop", argument, "250 2.0.0 Ok")

    async def on_quit(self, argument: str) -> None:
        await self.answer("quit", argument, "221 2.0.0 Bye")
        raise GoneError


def _wire(reply: str) -> bytes:
    """The lines of a reply, each with its code and a hyphen but for the last (RFC 5321 4.2.1)."""
    *before, last = reply.split("\n")
    code = reply[:3]
    lines = [f"{code}-{line.removeprefix(code)[1:]}" for line in before] + [last]
    return "".join(f"{line}\r\n" for line in lines).encode()


def _path(argument: str) -> str:
    return argument.partition("<")[2].partition(">")[0]
