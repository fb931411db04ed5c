"""Check pinned public keys."""

import ssl

from app.domain.outcome.outcome import Fault, Stage
from app.domain.types import TlsMode
from app.smtp.certificate import pin_of
from app.smtp.faults import fault_error
from app.smtp.identity import Identity
from app.smtp.tls_handshake import read_sent_chain, read_verified_chain


def check_pins(tls: ssl.SSLObject, identity: Identity) -> None:
    """Raises StageFailedError where the identity has pins, and none of the keys is among them.

    An authority's key counts only where it was found to vouch for the server's (RFC 7469 section
    2.6): a chain that nobody verified may hold anybody's certificate.
    """
    if not identity.tls_pins:
        return
    is_verified = identity.tls is not TlsMode.OPPORTUNISTIC
    chain = read_verified_chain(tls) if is_verified else read_sent_chain(tls)[:1]
    pins = [pin for certificate in chain if (pin := pin_of(certificate)) is not None]
    if not set(pins) & set(identity.tls_pins):
        detail = f"none of the server's keys is pinned; its own first: {', '.join(pins)}"
        raise fault_error(Stage.TLS, Fault.PIN_MISMATCH, detail, read_sent_chain(tls))
