"""Connect aiosmtplib to a socket, with the profile's TLS: implicit or STARTTLS."""

import asyncio
import re
import socket
import ssl
import tempfile
from collections.abc import Awaitable
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeVar, cast

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol
from aiosmtplib.response import SMTPResponse

from app.domain.outcome.outcome import Fault, Stage
from app.domain.outcome.replies import SERVICE_READY, Reply
from app.domain.types import TlsMode
from app.smtp.certificate_details import pin_of
from app.smtp.faults import (
    MALFORMED_CODE,
    StageFailedError,
    fault_error,
    reply_error,
    stage,
)
from app.smtp.identity import Identity
from app.smtp.tls_handshake import Handshake, read_sent_chain, read_verified_chain
from app.smtp.transcript import Transcript

Result = TypeVar("Result")

MAX_CONTEXTS: Final = 256
MIN_VERSIONS: Final = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
# Both old versions sign with MD5 and SHA-1; OpenSSL 3 allows them only at level 0.
OLD_CIPHERS: Final = "DEFAULT:@SECLEVEL=0"
_BLANK_LINES: Final = re.compile(rb"^[ \t\r]*\n", re.MULTILINE)


class RecordedProtocol(SMTPProtocol):
    """Speaks for `smtp`, and tells the transcript what it says and hears."""

    def __init__(self, smtp: aiosmtplib.SMTP, transcript: Transcript) -> None:
        super().__init__(connection_lost_callback=lambda _: smtp.close())
        self._transcript = transcript

    def _read_response_from_buffer(self) -> SMTPResponse | None:
        """A reply, without blank lines, which aiosmtplib takes for no SMTP."""
        self._buffer[:] = _BLANK_LINES.sub(b"", self._buffer)
        return super()._read_response_from_buffer()

    def write(self, data: bytes) -> None:
        self._transcript.add_command(data)
        super().write(data)

    async def read_response(self, timeout: float | None = None) -> SMTPResponse:  # noqa: ASYNC109 - aiosmtplib's signature
        response = await super().read_response(timeout=timeout)
        if response.code == MALFORMED_CODE and self._transcript.stage is Stage.BANNER:
            return response  # the failure says all that may be shown
        self._transcript.add_reply(Reply.parse(response.code, response.message))
        return response


@lru_cache(maxsize=MAX_CONTEXTS)
def tls_context(identity: Identity) -> ssl.SSLContext:
    """Build an identity's TLS context. Cached; takes milliseconds, so call it in a thread.

    Verifies certificates and names, except with `opportunistic` (RFC 7435), where unverified
    encryption is better than none. `tls_ca` replaces the public authorities. Raises
    StageFailedError if the profile's certificates do not load.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=identity.tls_ca)
        if identity.client_certificate is not None:
            _load_client_certificate(context, identity)
    except (ssl.SSLError, ValueError) as error:
        detail = "could not load the profile's tls_ca or client certificate"
        raise fault_error(Stage.TLS, Fault.CERTIFICATE, detail) from error
    context.sslobject_class = Handshake
    context.minimum_version = MIN_VERSIONS[identity.tls_min_version]
    if context.minimum_version < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers(OLD_CIPHERS)
    if identity.tls_ca is not None:
        # Accept an intermediate authority, as Python 3.13 does by default.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if identity.tls is TlsMode.OPPORTUNISTIC:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_client_certificate(context: ssl.SSLContext, identity: Identity) -> None:
    # OpenSSL loads client certificates only from files.
    with tempfile.TemporaryDirectory(prefix="heloise-") as folder:
        path = Path(folder, "client.pem")
        path.touch(mode=0o600)
        path.write_text(f"{identity.client_certificate}\n{identity.client_key or ''}\n")
        # Without a password, OpenSSL prompts on the terminal for an encrypted key.
        context.load_cert_chain(path, password="")


async def attach(
    smtp: aiosmtplib.SMTP,
    sock: socket.socket,
    identity: Identity,
    transcript: Transcript,
    context: ssl.SSLContext | None,
) -> None:
    """Attach `smtp` to a connected socket, after a TLS handshake if there is a context.

    aiosmtplib's `connect` has one timeout for handshake and greeting, which differ (RFC 5321
    section 4.5.3.2.1), and does not report which failed. Raises StageFailedError.
    """

    def protocol() -> SMTPProtocol:
        return RecordedProtocol(smtp, transcript)

    loop = asyncio.get_running_loop()
    if context is None:
        with stage(Stage.BANNER):
            smtp.transport, smtp.protocol = await loop.create_connection(protocol, sock=sock)
        return
    smtp.transport, smtp.protocol = await _handshake(
        loop.create_connection(
            protocol,
            sock=sock,
            ssl=context,
            server_hostname=identity.server_name,
            ssl_handshake_timeout=_extend_timeout(identity.timeouts.connect),
        ),
        identity,
    )
    _check_secured(smtp.transport, identity)


async def _handshake(opening: Awaitable[Result], identity: Identity) -> Result:
    with stage(Stage.TLS):
        async with asyncio.timeout(identity.timeouts.connect):
            return await opening


def _extend_timeout(seconds: float) -> float:
    """Exceed our own timeout: asyncio's looks like a closed connection."""
    return seconds * 2


def _check_secured(transport: asyncio.BaseTransport | None, identity: Identity) -> None:
    tls = None if transport is None else transport.get_extra_info("ssl_object")
    # If the server hangs up during the handshake, asyncio may raise nothing.
    if tls is None:
        raise fault_error(Stage.TLS, Fault.DISCONNECTED, "the server closed the connection")
    _check_pins(tls, identity)


def _check_pins(tls: ssl.SSLObject, identity: Identity) -> None:
    """Raise StageFailedError if the identity has pins and none of the keys matches.

    An authority's key counts only in a verified chain (RFC 7469 section 2.6): an unverified chain
    may contain anybody's certificate.
    """
    if not identity.tls_pins:
        return
    is_verified = identity.tls is not TlsMode.OPPORTUNISTIC
    chain = read_verified_chain(tls) if is_verified else read_sent_chain(tls)[:1]
    pins = [pin for certificate in chain if (pin := pin_of(certificate)) is not None]
    if not set(pins) & set(identity.tls_pins):
        detail = f"none of the server's keys is pinned; its own first: {', '.join(pins)}"
        raise fault_error(Stage.TLS, Fault.PIN_MISMATCH, detail, read_sent_chain(tls))


async def start_tls(smtp: aiosmtplib.SMTP, context: ssl.SSLContext, identity: Identity) -> None:
    """Run STARTTLS (RFC 3207), and forget everything before it.

    aiosmtplib discards data that arrives with the reply. Here such data ends the session: only a
    man in the middle sends it. Raises StageFailedError.
    """
    with stage(Stage.TLS):
        code, text = await smtp.execute_command(b"STARTTLS", timeout=identity.timeouts.command)
        if code != SERVICE_READY:
            raise reply_error(Stage.TLS, code, text)
        protocol = smtp.protocol
        if protocol is None:
            raise fault_error(Stage.TLS, Fault.DISCONNECTED, "the server closed the connection")
        if protocol._buffer.strip():  # noqa: SLF001 - there is no public attribute
            raise _make_stripped_error()
        protocol._buffer.clear()  # noqa: SLF001 - as above
        protocol.transport = smtp.transport = await _encrypt(protocol, context, identity)
        _check_secured(smtp.transport, identity)
    smtp.esmtp_extensions = {}
    smtp.server_auth_methods = []


async def _encrypt(
    protocol: SMTPProtocol, context: ssl.SSLContext, identity: Identity
) -> asyncio.Transport | None:
    try:
        return await _handshake(
            asyncio.get_running_loop().start_tls(
                cast("asyncio.WriteTransport", protocol.transport),
                protocol,
                context,
                server_hostname=identity.server_name,
                ssl_handshake_timeout=_extend_timeout(identity.timeouts.connect),
            ),
            identity,
        )
    except StageFailedError as error:
        if error.failure.fault is Fault.PLAIN_TEXT:
            raise _make_stripped_error() from error
        raise


def _make_stripped_error() -> StageFailedError:
    detail = "the server sent plain text after its reply to STARTTLS"
    return fault_error(Stage.TLS, Fault.STRIPPED, detail)
