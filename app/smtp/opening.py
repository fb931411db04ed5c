"""Opening a session: connect, greet, secure, log in (RFC 5321, RFC 3207, RFC 4954)."""

import asyncio
import socket
import ssl
from dataclasses import dataclass, replace
from typing import Final, cast

import aiosmtplib

from app.domain.outcome import Failure, Fault, Stage
from app.domain.replies import COMMAND_NOT_IMPLEMENTED, COMMAND_UNRECOGNIZED, SERVICE_READY
from app.domain.types import TlsMode
from app.smtp.auth import authenticate
from app.smtp.faults import StageFailedError, fail, refuse, stage
from app.smtp.identity import ConnectionFacts, Identity
from app.smtp.protocol import Extensions
from app.smtp.resolve import AddressGuard, connect
from app.smtp.session import Session
from app.smtp.tls import attach, start_tls, tls_context
from app.smtp.wire import Wire

NO_SUCH_COMMAND: Final = frozenset({COMMAND_UNRECOGNIZED, COMMAND_NOT_IMPLEMENTED})


@dataclass(frozen=True, slots=True)
class NotOpened:
    """A session that did not come to be: at which stage, and what was known by then."""

    failure: Failure
    facts: ConnectionFacts


async def open_session(
    identity: Identity, guard: AddressGuard, *, may_pipeline: bool = True
) -> Session | NotOpened:
    """Connect, greet, secure, log in. Raises nothing that the server or the network does.

    Without `may_pipeline` each command waits for its answer, whatever the server offers.
    """
    opening = _Opening(identity, may_pipeline=may_pipeline)
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

    def __init__(self, identity: Identity, *, may_pipeline: bool) -> None:
        self.identity = identity
        self._may_pipeline = may_pipeline
        self.facts = ConnectionFacts(host=identity.host, port=identity.port)
        self._smtp: aiosmtplib.SMTP | None = None

    def abort(self) -> None:
        if self._smtp is not None and self._smtp.transport is not None:
            # `close` alone would wait for a peer that has stopped reading.
            cast("asyncio.WriteTransport", self._smtp.transport).abort()

    async def run(self, guard: AddressGuard) -> Session:
        identity = self.identity
        context = await self._context()
        is_implicit = identity.tls is TlsMode.IMPLICIT
        sock = await self._connected(guard)
        smtp = self._smtp = self._client()
        await attach(smtp, sock, identity, context if is_implicit else None)
        self._note_tls(smtp)
        await self._read_banner(smtp)
        await self._greet(smtp)
        if context is not None and not is_implicit:
            await self._start_tls(smtp, context)
        if identity.wants_auth:
            encrypted = self.facts.tls_version is not None
            mechanism = await authenticate(smtp, identity, encrypted=encrypted)
            self.facts = replace(self.facts, auth_mechanism=mechanism)
        return self._session(smtp)

    def _session(self, smtp: aiosmtplib.SMTP) -> Session:
        """From here on the connection is spoken through by the session alone."""
        protocol = smtp.protocol
        if protocol is None or protocol.transport is None:
            raise fail(Stage.MAIL, Fault.DISCONNECTED, "the server closed the connection")
        extensions = Extensions.of(smtp.esmtp_extensions)
        if not self._may_pipeline:
            extensions = replace(extensions, pipelining=False)
        wire = Wire(cast("asyncio.Transport", protocol.transport))
        if protocol._buffer:  # noqa: SLF001 - no public attribute tells
            wire.data_received(bytes(protocol._buffer))  # noqa: SLF001 - as above
        return Session(wire, extensions, self.identity, self.facts)

    async def _connected(self, guard: AddressGuard) -> socket.socket:
        sock = await connect(self.identity, guard)
        try:
            with stage(Stage.TCP):
                own, remote = sock.getsockname()[0], sock.getpeername()[0]
        except StageFailedError:
            sock.close()
            raise
        ehlo = self.identity.ehlo(own)
        self.facts = replace(
            self.facts,
            remote_address=remote,
            ehlo_name=ehlo.name,
            ehlo_source=ehlo.source.value,
        )
        return sock

    def _client(self) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self.identity.host,
            local_hostname=self.facts.ehlo_name,
            timeout=self.identity.timeouts.command,
        )

    async def _context(self) -> ssl.SSLContext | None:
        if self.identity.tls is TlsMode.NONE:
            return None
        return await asyncio.to_thread(tls_context, self.identity)

    async def _read_banner(self, smtp: aiosmtplib.SMTP) -> None:
        with stage(Stage.BANNER):
            if smtp.protocol is None:
                raise fail(Stage.BANNER, Fault.DISCONNECTED, "the server closed the connection")
            code, text = await smtp.protocol.read_response(timeout=self.identity.timeouts.command)
        if code != SERVICE_READY:
            raise refuse(Stage.BANNER, code, text)

    async def _greet(self, smtp: aiosmtplib.SMTP) -> None:
        """EHLO by the name that was decided; HELO only for a server that does not know the word.

        RFC 5321 section 4.1.1.1. Neither STARTTLS nor AUTH is there after HELO, so who needs one of
        them stops here.
        """
        try:
            with stage(Stage.EHLO):
                await smtp.ehlo()
        except StageFailedError as error:
            reply = error.failure.reply
            is_helo_enough = (
                not self.identity.wants_auth and self.identity.tls is not TlsMode.STARTTLS
            )
            if not is_helo_enough or reply is None or reply.code not in NO_SUCH_COMMAND:
                raise
            with stage(Stage.EHLO):
                await smtp.helo()

    async def _start_tls(self, smtp: aiosmtplib.SMTP, context: ssl.SSLContext) -> None:
        if not smtp.supports_extension("starttls"):
            if self.identity.tls is TlsMode.OPPORTUNISTIC:
                return
            detail = "the server does not offer STARTTLS, which tls=starttls requires"
            raise fail(Stage.TLS, Fault.NOT_OFFERED, detail)
        await start_tls(smtp, context, self.identity)
        self._note_tls(smtp)
        await self._greet(smtp)

    def _note_tls(self, smtp: aiosmtplib.SMTP) -> None:
        cipher = smtp.get_transport_info("cipher") if smtp.is_connected else None
        if cipher is not None:
            self.facts = replace(self.facts, tls_version=cipher[1], tls_cipher=cipher[0])
