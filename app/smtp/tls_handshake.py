"""Perform TLS handshakes, and explain their failures."""

import ssl
from _ssl import ENCODING_DER
from contextlib import suppress
from typing import Final

from app.domain.outcome.outcome import Fault
from app.smtp.certificate_details import Certificate

# OpenSSL's reason if the first byte begins no TLS record.
NOT_TLS: Final = "WRONG_VERSION_NUMBER"
TOO_OLD: Final = frozenset(
    {
        "UNSUPPORTED_PROTOCOL",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "VERSION_TOO_LOW",
        "WRONG_SSL_VERSION",
    }
)
# From OpenSSL's x509_vfy.h: host name mismatch, address mismatch, not yet valid, expired.
CERTIFICATE_FAULTS: Final = {
    62: Fault.NAME_MISMATCH,
    64: Fault.NAME_MISMATCH,
    9: Fault.NOT_YET_VALID,
    10: Fault.EXPIRED,
}
# Alerts about the client's certificate, or its absence (RFC 8446 section 6.2). A server judges no
# other certificate.
CLIENT_CERTIFICATE_ALERTS: Final = frozenset(
    {
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    }
)
# TLS 1.2 has no alert for a missing certificate. After the cipher is agreed, this alert can only
# mean that.
REFUSED: Final = "SSLV3_ALERT_HANDSHAKE_FAILURE"
DAY: Final = "%Y-%m-%d %H:%M UTC"
CLIENT_REFUSED: Final = "the server requires a client certificate that it trusts: {}"


class HandshakeError(ssl.SSLError):
    """A failed handshake: OpenSSL's error, and the DER chain received so far.

    `is_agreed`: both sides had agreed on version and cipher.
    """

    def __init__(self, cause: ssl.SSLError, *, chain: tuple[bytes, ...], is_agreed: bool) -> None:
        super().__init__(*cause.args)
        self.cause = cause
        self.chain = chain
        self.is_agreed = is_agreed


class Handshake(ssl.SSLObject):
    """An `sslobject_class` that reports the certificates of failed handshakes."""

    def do_handshake(self) -> None:
        """Like `ssl.SSLObject`; raises HandshakeError on failure."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            is_agreed = self.cipher() is not None
            raise HandshakeError(error, chain=read_sent_chain(self), is_agreed=is_agreed) from error


def read_sent_chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """Return the certificates that the server sent, in DER, its own first."""
    return _read_chain(tls, "get_unverified_chain")


def read_verified_chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """Return the verified chain, in DER, the server's certificate first."""
    return _read_chain(tls, "get_verified_chain")


def _read_chain(tls: ssl.SSLObject, getter: str) -> tuple[bytes, ...]:
    # Public since Python 3.13; before, on CPython's inner object.
    get_chain = getattr(tls, getter, None) or getattr(getattr(tls, "_sslobj", None), getter, None)
    if get_chain is None:
        with suppress(ValueError):  # there is no handshake yet
            return tuple(filter(None, [tls.getpeercert(binary_form=True)]))
        return ()
    return tuple(
        certificate if isinstance(certificate, bytes) else certificate.public_bytes(ENCODING_DER)
        for certificate in get_chain() or ()
    )


def classify_tls_error(error: ssl.SSLError) -> tuple[Fault, str]:
    """Return the fault of a failed handshake, and its text."""
    cause = error.cause if isinstance(error, HandshakeError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _describe_distrust(cause, error.chain if isinstance(error, HandshakeError) else ())
    if cause.reason == NOT_TLS:
        return Fault.PLAIN_TEXT, "the server sent plain text instead of TLS"
    if cause.reason in TOO_OLD:
        return Fault.TOO_OLD, f"the server supports only old versions of TLS: {cause.reason}"
    is_agreed = isinstance(error, HandshakeError) and error.is_agreed
    if is_client_refusal(cause) or (cause.reason == REFUSED and is_agreed):
        return Fault.CLIENT_CERTIFICATE, CLIENT_REFUSED.format(cause.reason)
    return Fault.HANDSHAKE, f"TLS failed: {cause.reason or cause}"


def is_client_refusal(error: ssl.SSLError) -> bool:
    """Whether the server rejects or requires a client certificate.

    In TLS 1.3 the server reports it only after the handshake, instead of its next reply.
    """
    return error.reason in CLIENT_CERTIFICATE_ALERTS


def _describe_distrust(
    error: ssl.SSLCertVerificationError, chain: tuple[bytes, ...]
) -> tuple[Fault, str]:
    fault = CERTIFICATE_FAULTS.get(error.verify_code, Fault.CERTIFICATE)
    message = f"certificate verification failed: {error.verify_message}".rstrip(".")
    certificate = Certificate.from_chain(chain)
    return (
        fault,
        message if certificate is None else f"{message}; {_explain_fault(fault, certificate)}",
    )


def _explain_fault(fault: Fault, certificate: Certificate) -> str:
    """Explain a fault with facts that OpenSSL's message omits."""
    chain = certificate.chain
    match fault:
        case Fault.NAME_MISMATCH:
            return f"it is for {certificate.listed_names}"
        case Fault.EXPIRED:
            first = min(chain, key=lambda link: link.not_after)
            return f"{first.subject} expired at {first.not_after:{DAY}}"
        case Fault.NOT_YET_VALID:
            last = max(chain, key=lambda link: link.not_before)
            return f"{last.subject} is valid only from {last.not_before:{DAY}}"
        case _:
            return _describe_origin(certificate)


def _describe_origin(certificate: Certificate) -> str:
    own, top = certificate.own, certificate.chain[-1]
    if own.self_signed:
        return f"{own.subject} is self-signed"
    if top.self_signed:
        return f"its authority {top.subject} is not trusted"
    return f"the server sends no certificate of {top.issuer}, and that authority is unknown here"
