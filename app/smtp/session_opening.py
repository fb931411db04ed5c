"""Open a session: connect, EHLO, STARTTLS, AUTH (RFC 5321, RFC 3207, RFC 4954)."""

import asyncio
import socket
import ssl
from collections.abc import Collection, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Final, cast

import aiosmtplib

from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.outcome.replies import (
    COMMAND_NOT_IMPLEMENTED,
    COMMAND_UNRECOGNIZED,
    COMPLETED,
    SERVICE_READY,
    UNAVAILABLE,
    Reply,
)
from app.domain.types import TlsMode
from app.smtp.auth import authenticate
from app.smtp.extensions import Extension, Extensions
from app.smtp.faults import StageFailedError, fault_error, reply_error, stage
from app.smtp.identity import ConnectionFacts, Identity
from app.smtp.implicit_tls import detect_implicit_tls
from app.smtp.redaction import list_secret_forms, make_credentials
from app.smtp.resolve import Network, connect
from app.smtp.session import Session
from app.smtp.tls import attach, start_tls, tls_context
from app.smtp.tls_handshake import read_sent_chain
from app.smtp.transcript import Transcript
from app.smtp.wire import Wire

MAX_BANNER_CHARACTERS: Final = 500
NO_SUCH_COMMAND: Final = frozenset({COMMAND_UNRECOGNIZED, COMMAND_NOT_IMPLEMENTED})


@dataclass(frozen=True, slots=True)
class OpenFailure:
    """A session that could not open: the failure, the facts and the transcript."""

    failure: Failure
    facts: ConnectionFacts
    transcript: Transcript


def make_open_failure(identity: Identity, failure: Failure, transcript: Transcript) -> OpenFailure:
    """Build the failure of a session that never connected."""
    transcript.stage = failure.stage
    transcript.add_note(failure.detail)
    return OpenFailure(failure, ConnectionFacts(host=identity.host, port=identity.port), transcript)


async def open_session(
    identity: Identity,
    network: Network,
    *,
    names: Sequence[str] = (),
    token: str | None = None,
    distrusted: Collection[Extension] = (),
) -> Session | OpenFailure:
    """Connect, greet, secure and log in. Returns failures of server and network.

    See `Opening` for `names`, `token` and `distrusted`.
    """
    transcript = Transcript()
    try:
        await _load_context(identity)  # do not connect if it cannot be built
        sock = await connect(identity, network)
    except StageFailedError as error:
        return make_open_failure(identity, error.failure, transcript)
    opening = Opening(identity, transcript, names=names, token=token, distrusted=distrusted)
    result = await opening.open(sock)
    if isinstance(result, OpenFailure):
        return replace(result, failure=await detect_implicit_tls(result.failure, identity, network))
    return result


async def _load_context(identity: Identity) -> ssl.SSLContext | None:
    if identity.tls is TlsMode.NONE:
        return None
    return await asyncio.to_thread(tls_context, identity)


@dataclass(slots=True, eq=False, repr=False)
class Opening:
    """Opens a session; keeps facts and transcript for a failure.

    Tries `names` in order instead of the identity's EHLO name, until the server accepts one or
    hangs up. `token` is the OAuth access token for AUTH. Ignores the `distrusted` extensions.
    """

    identity: Identity
    transcript: Transcript
    _: KW_ONLY
    names: Sequence[str] = ()
    token: str | None = None
    distrusted: Collection[Extension] = ()
    facts: ConnectionFacts = field(init=False)
    smtp: aiosmtplib.SMTP | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.facts = ConnectionFacts(host=self.identity.host, port=self.identity.port)
        credentials = make_credentials(self.identity, self.token)
        self.transcript.keep_secret(list_secret_forms(credentials))

    async def open(self, sock: socket.socket) -> Session | OpenFailure:
        """Open a session on a connected socket. Returns failures of the server."""
        try:
            return await self._run(sock)
        except StageFailedError as error:
            self._abort()
            self.transcript.stage = error.failure.stage
            if error.failure.reply is None:
                self.transcript.add_note(error.failure.detail)
            if error.chain:  # from a failed handshake
                self.facts = replace(self.facts, certificate_chain=error.chain)
            return self.make_failure(self.transcript.redact_failure(error.failure))
        except BaseException:
            self._abort()
            raise

    def make_failure(self, failure: Failure) -> OpenFailure:
        """Build the failure, with the facts so far."""
        return OpenFailure(failure, self.facts, self.transcript)

    def _abort(self) -> None:
        if self.smtp is not None and self.smtp.transport is not None:
            # `close` would wait for a server that does not read.
            cast("asyncio.WriteTransport", self.smtp.transport).abort()

    async def _run(self, sock: socket.socket) -> Session:
        identity = self.identity
        try:
            self._note_connected(sock)
            context = await _load_context(identity)
        except BaseException:
            sock.close()
            raise
        is_implicit = identity.tls is TlsMode.IMPLICIT
        smtp = self.smtp = self._make_client()
        self.transcript.stage = Stage.TLS if is_implicit else Stage.BANNER
        await attach(smtp, sock, identity, self.transcript, context if is_implicit else None)
        self._note_tls(smtp)
        await self._read_banner(smtp)
        await self._greet_with_any_name(smtp)
        if context is not None and not is_implicit:
            await self._start_tls(smtp, context)
        if identity.wants_auth:
            await self._log_in(smtp)
        return self._make_session(smtp)

    async def _log_in(self, smtp: aiosmtplib.SMTP) -> None:
        self.transcript.stage = Stage.AUTH
        offered = tuple(name.upper() for name in smtp.server_auth_methods)
        self.facts = replace(self.facts, auth_offered=offered)
        encrypted = self.facts.tls_version is not None
        mechanism = await authenticate(smtp, self.identity, encrypted=encrypted, token=self.token)
        self.facts = replace(self.facts, auth_mechanism=mechanism)

    def _make_session(self, smtp: aiosmtplib.SMTP) -> Session:
        """Hand the connection to a session."""
        protocol = smtp.protocol
        if protocol is None or protocol.transport is None:
            raise fault_error(Stage.MAIL, Fault.DISCONNECTED, "the server closed the connection")
        extensions = Extensions.from_ehlo(smtp.esmtp_extensions).without(self.distrusted)
        wire = Wire(cast("asyncio.Transport", protocol.transport), self.transcript.redact)
        if protocol._buffer:  # noqa: SLF001 - there is no public attribute
            wire.data_received(bytes(protocol._buffer))  # noqa: SLF001 - as above
        return Session(wire, extensions, self.identity, self.facts, self.transcript)

    def _note_connected(self, sock: socket.socket) -> None:
        with stage(Stage.TCP):
            local_address, remote = sock.getsockname()[0], sock.getpeername()[0]
        ehlo = self.identity.ehlo(local_address)
        self.facts = replace(
            self.facts,
            local_address=local_address,
            remote_address=remote,
            ehlo_name=ehlo.name,
            ehlo_source=ehlo.source.value,
        )
        self.transcript.stage = Stage.TCP
        self.transcript.add_note(f"connected to {remote} port {self.identity.port}")

    def _make_client(self) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self.identity.host,
            local_hostname=self.facts.ehlo_name,
            timeout=self.identity.timeouts.command,
        )

    async def _read_banner(self, smtp: aiosmtplib.SMTP) -> None:
        self.transcript.stage = Stage.BANNER
        with stage(Stage.BANNER):
            if smtp.protocol is None:
                raise fault_error(
                    Stage.BANNER, Fault.DISCONNECTED, "the server closed the connection"
                )
            code, text = await smtp.protocol.read_response(timeout=self.identity.timeouts.command)
        if code != SERVICE_READY:
            raise reply_error(Stage.BANNER, code, text)
        self.facts = replace(
            self.facts, banner=self.transcript.redact(text[:MAX_BANNER_CHARACTERS])
        )

    async def _greet_with_any_name(self, smtp: aiosmtplib.SMTP) -> None:
        """Greet, by each of the names in turn where there are several to try."""
        for name in self.names:
            smtp.local_hostname = name
            self.facts = replace(self.facts, ehlo_name=name, ehlo_source=None)
            try:
                return await self._greet(smtp)
            except StageFailedError as error:
                reply = error.failure.reply
                if reply is None or reply.code == UNAVAILABLE or not smtp.is_connected:
                    raise
                failure = self.transcript.redact_failure(error.failure)
                refused = (*self.facts.refused_names, (name, failure))
                self.facts = replace(self.facts, refused_names=refused)
                if name == self.names[-1]:
                    raise
        return await self._greet(smtp)

    async def _greet(self, smtp: aiosmtplib.SMTP) -> None:
        """Send EHLO; HELO only if the server does not know EHLO (RFC 5321 section 4.1.1.1).

        HELO offers neither STARTTLS nor AUTH, so it fails if the profile requires either.
        """
        self.transcript.stage = Stage.EHLO
        try:
            with stage(Stage.EHLO):
                _, answer = await smtp.ehlo()
        except StageFailedError as error:
            reply = error.failure.reply
            is_helo_enough = not self.identity.wants_auth and not self.identity.requires_starttls
            if not is_helo_enough or reply is None or reply.code not in NO_SUCH_COMMAND:
                raise
            with stage(Stage.EHLO):
                _, answer = await smtp.helo()
        greeting = self.transcript.redact(Reply.parse(COMPLETED, answer).text)
        greetings = (*self.facts.greetings, greeting)
        self.facts = replace(self.facts, greetings=greetings)

    async def _start_tls(self, smtp: aiosmtplib.SMTP, context: ssl.SSLContext) -> None:
        self.transcript.stage = Stage.TLS
        if not smtp.supports_extension("starttls"):
            if not self.identity.requires_starttls:
                return
            detail = "the server does not offer STARTTLS, which the profile requires"
            raise fault_error(Stage.TLS, Fault.NOT_OFFERED, detail)
        await start_tls(smtp, context, self.identity)
        self._note_tls(smtp)
        await self._greet(smtp)

    def _note_tls(self, smtp: aiosmtplib.SMTP) -> None:
        tls = smtp.get_transport_info("ssl_object") if smtp.is_connected else None
        if tls is not None:
            # `cipher` reports the version that defined the cipher.
            version, cipher = tls.version(), tls.cipher()[0]
            self.facts = replace(
                self.facts,
                tls_version=version,
                tls_cipher=cipher,
                certificate_chain=read_sent_chain(tls),
            )
            self.transcript.add_note(f"{version} {cipher}")
