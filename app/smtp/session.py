"""One SMTP session: greeting, TLS, AUTH, then one mail transaction after another (RFC 5321)."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import aiosmtplib
from aiosmtplib.errors import SMTPException

from app.domain.ehlo import EffectiveEhlo
from app.domain.outcome import Failure, Fault, Stage
from app.domain.replies import (
    CANNOT_VERIFY,
    COMMAND_NOT_IMPLEMENTED,
    COMMAND_UNRECOGNIZED,
    COMPLETED,
    START_INPUT,
    UNAVAILABLE,
    Reply,
)
from app.domain.types import TlsMode
from app.smtp.auth import authenticate
from app.smtp.faults import StageFailedError, fail, refuse, stage
from app.smtp.identity import ConnectionFacts, Identity
from app.smtp.resolve import AddressGuard, connect
from app.smtp.tls import tls_context

BeforeBody = Callable[[Collection[str]], Awaitable[bool]]

QUIT_TIMEOUT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Transaction:
    """How one mail transaction ended.

    `refused` holds the recipients that the server itself refused at RCPT. All others share one
    end: `reply` where the server took the message, else `failure`. With every recipient refused
    both are None.
    """

    refused: dict[str, Failure] = field(default_factory=dict)
    failure: Failure | None = None
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class NotOpened:
    """A session that did not come to be: at which stage, and what was known by then."""

    failure: Failure
    facts: ConnectionFacts


class Session:
    """A connection on which the server has accepted the EHLO name and, where asked, the user.

    `stage` tells how far the transaction has come: DOT from the moment on at which the body goes
    out, when the server may have taken the message though nobody has heard it say so.
    """

    def __init__(self, smtp: aiosmtplib.SMTP, identity: Identity, facts: ConnectionFacts) -> None:
        self._smtp = smtp
        self.identity = identity
        self.facts = facts
        self.messages_delivered = 0
        self.stage = Stage.MAIL

    @property
    def is_open(self) -> bool:
        """Whether the server has not closed the connection, as far as is known."""
        return self._smtp.is_connected

    @property
    def is_authenticated(self) -> bool:
        """Whether AUTH succeeded."""
        return self.facts.auth_mechanism is not None

    async def send(
        self,
        *,
        envelope_from: str,
        recipients: Sequence[str],
        mime: bytes,
        before_body: BeforeBody | None = None,
    ) -> Transaction:
        """One mail transaction. Raises nothing that the server or the network does.

        `before_body` is asked once the server waits for the body, with the recipients that it
        took; where it says no, nothing of the body goes out.

        Where it is cancelled the connection is closed: what was under way is not known to end.
        """
        refused: dict[str, Failure] = {}
        try:
            await self._mail(envelope_from, len(mime))
            await self._rcpt(recipients, refused)
            if len(refused) == len(recipients):
                await self._rset()
                return Transaction(refused)
            taken = [each for each in recipients if each not in refused]
            reply = await self._data(mime, taken, before_body)
        except StageFailedError as error:
            await self._recover(error.failure)
            return Transaction(refused, failure=error.failure)
        except BaseException:
            self.abort()
            raise
        self.messages_delivered += 1
        return Transaction(refused, reply=reply)

    async def _mail(self, envelope_from: str, size_bytes: int) -> None:
        parameters = []
        if self._smtp.supports_extension("size"):
            limit = self._smtp.esmtp_extensions["size"].strip()
            # RFC 1870: a limit of 0, or none, says that there is no fixed one.
            if limit.isdigit() and 0 < int(limit) < size_bytes:
                detail = f"the server takes {limit} bytes at most, the message has {size_bytes}"
                raise fail(Stage.MAIL, Fault.TOO_LARGE, detail)
            parameters.append(f"SIZE={size_bytes}")
        reply = await self._command(Stage.MAIL, "MAIL", f"FROM:<{envelope_from}>", *parameters)
        if reply.code != COMPLETED:
            raise StageFailedError(Failure(Stage.MAIL, reply=reply))

    async def _rcpt(self, recipients: Sequence[str], refused: dict[str, Failure]) -> None:
        for address in recipients:
            reply = await self._command(Stage.RCPT, "RCPT", f"TO:<{address}>")
            if reply.code in {COMPLETED, 251, CANNOT_VERIFY}:
                continue
            failure = Failure(Stage.RCPT, reply=reply)
            if reply.code == UNAVAILABLE:
                raise StageFailedError(failure)
            refused[address] = failure

    async def _data(
        self, mime: bytes, taken: Sequence[str], before_body: BeforeBody | None
    ) -> Reply:
        reply = await self._command(Stage.DATA, "DATA")
        if reply.code != START_INPUT:
            raise StageFailedError(Failure(Stage.DATA, reply=reply))
        if before_body is not None and not await before_body(taken):
            raise fail(Stage.DATA, Fault.ABANDONED, "its mark was not written, so it was not sent")
        protocol = self._smtp.protocol
        self.stage = Stage.DOT
        with stage(Stage.DOT):
            if protocol is None:
                raise fail(Stage.DATA, Fault.DISCONNECTED, "the server closed the connection")
            protocol.write(dot_stuffed(mime))
            code, text = await protocol.read_response(timeout=self.identity.timeouts.data)
        if code != COMPLETED:
            raise refuse(Stage.DOT, code, text)
        return Reply.parse(code, text)

    async def _command(self, at: Stage, *words: str) -> Reply:
        self.stage = at
        with stage(at):
            code, text = await self._smtp.execute_command(
                *(word.encode("ascii") for word in words), timeout=self.identity.timeouts.command
            )
        if code < 0:
            raise refuse(at, code, text)
        return Reply.parse(code, text)

    async def _rset(self) -> None:
        with suppress(StageFailedError):
            await self._command(Stage.MAIL, "RSET")

    async def _recover(self, failure: Failure) -> None:
        """Make the session fit for the next message, or close it where it cannot be trusted."""
        said_goodbye = failure.reply is not None and failure.reply.code == UNAVAILABLE
        lost = failure.reply is None and failure.fault is not Fault.TOO_LARGE
        if said_goodbye or lost:
            self.abort()
        elif self.is_open:
            await self._rset()

    async def quit(self) -> None:
        """Say QUIT and close; a server that does not answer is not waited for."""
        with suppress(SMTPException, OSError, ValueError):
            await self._smtp.quit(timeout=QUIT_TIMEOUT_SECONDS)
        self._smtp.close()

    def abort(self) -> None:
        """Close at once, with what the server has not read yet."""
        _abort(self._smtp)


def _abort(smtp: aiosmtplib.SMTP) -> None:
    # `close` alone would wait for a peer that has stopped reading.
    if isinstance(smtp.transport, asyncio.WriteTransport):
        smtp.transport.abort()
    smtp.close()


def dot_stuffed(mime: bytes) -> bytes:
    """The message as it goes on the wire, with its end (RFC 5321 section 4.5.2)."""
    body = mime.replace(b"\r\n.", b"\r\n..")
    if body.startswith(b"."):
        body = b"." + body
    end = b".\r\n" if body.endswith(b"\r\n") else b"\r\n.\r\n"
    return body + end


async def open_session(identity: Identity, guard: AddressGuard) -> Session | NotOpened:
    """Connect, greet, secure, log in. Raises nothing that the server or the network does."""
    opening = _Opening(identity)
    try:
        return await opening.run(guard)
    except StageFailedError as error:
        opening.abort()
        return NotOpened(error.failure, opening.facts)
    except BaseException:
        opening.abort()
        raise


class _Opening:
    """A session in the making: its facts grow stage by stage, so that a failure can tell them."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.facts = ConnectionFacts(host=identity.host, port=identity.port)
        self._smtp: aiosmtplib.SMTP | None = None
        self._ehlo: EffectiveEhlo | None = None

    def abort(self) -> None:
        if self._smtp is not None:
            _abort(self._smtp)

    async def run(self, guard: AddressGuard) -> Session:
        identity = self.identity
        context = await self._context()
        sock = await connect(identity, guard)
        ehlo = identity.ehlo(sock.getsockname()[0])
        self.facts = replace(
            self.facts,
            remote_address=sock.getpeername()[0],
            ehlo_name=ehlo.name,
            ehlo_source=ehlo.source.value,
        )
        smtp = self._smtp = aiosmtplib.SMTP(
            hostname=identity.host,
            local_hostname=ehlo.name,
            sock=sock,
            use_tls=identity.tls is TlsMode.IMPLICIT,
            start_tls=False,
            tls_context=context,
            timeout=identity.timeouts.command,
        )
        with stage(Stage.BANNER):
            await smtp.connect()
        self._note_tls(smtp)
        await self._greet(smtp, ehlo.name)
        if identity.tls in {TlsMode.STARTTLS, TlsMode.OPPORTUNISTIC}:
            await self._start_tls(smtp, context, ehlo.name)
        if identity.wants_auth:
            encrypted = self.facts.tls_version is not None
            mechanism = await authenticate(smtp, identity, encrypted=encrypted)
            self.facts = replace(self.facts, auth_mechanism=mechanism)
        return Session(smtp, identity, self.facts)

    async def _context(self) -> ssl.SSLContext | None:
        if self.identity.tls is TlsMode.NONE:
            return None
        return await asyncio.to_thread(tls_context, self.identity)

    async def _greet(self, smtp: aiosmtplib.SMTP, name: str) -> None:
        """EHLO; HELO only for a server that does not know the word (RFC 5321 section 4.1.1.1)."""
        try:
            with stage(Stage.EHLO):
                await smtp.ehlo(hostname=name)
        except StageFailedError as error:
            reply = error.failure.reply
            if reply is None or reply.code not in {COMMAND_UNRECOGNIZED, COMMAND_NOT_IMPLEMENTED}:
                raise
            with stage(Stage.EHLO):
                await smtp.helo(hostname=name)

    async def _start_tls(
        self, smtp: aiosmtplib.SMTP, context: ssl.SSLContext | None, name: str
    ) -> None:
        if not smtp.supports_extension("starttls"):
            if self.identity.tls is TlsMode.OPPORTUNISTIC:
                return
            detail = "the server does not offer STARTTLS, which tls=starttls requires"
            raise fail(Stage.TLS, Fault.NOT_OFFERED, detail)
        with stage(Stage.TLS):
            await smtp.starttls(tls_context=context, server_hostname=self.identity.host)
        self._note_tls(smtp)
        await self._greet(smtp, name)

    def _note_tls(self, smtp: aiosmtplib.SMTP) -> None:
        cipher = smtp.get_transport_info("cipher") if smtp.is_connected else None
        if cipher is not None:
            self.facts = replace(self.facts, tls_version=cipher[1], tls_cipher=cipher[0])
