"""Parse a server's certificate chain: names, validity and issuers."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from cryptography import x509

MAX_TEXT_CHARACTERS: Final = 200
MAX_LISTED_NAMES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainLink:
    """One certificate of a chain; `pin` has the format of `tls_pins`."""

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    pin: str

    @property
    def self_signed(self) -> bool:
        """Whether the certificate is self-issued."""
        return self.subject == self.issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A server's certificate with the chain that the server sent, its own first.

    `names` are the host names and addresses that it covers.
    """

    names: tuple[str, ...]
    chain: tuple[ChainLink, ...]

    @classmethod
    def from_chain(cls, der_chain: Sequence[bytes]) -> Self | None:
        """Parse a DER chain; None if it is empty or unreadable."""
        from cryptography import x509  # only faults, pins and verify read certificates

        try:
            chain = [x509.load_der_x509_certificate(data) for data in der_chain]
            links = tuple(_make_link(certificate) for certificate in chain)
            return cls(names=_read_names(chain[0]), chain=links) if chain else None
        except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension):
            return None

    @property
    def own(self) -> ChainLink:
        """The server's own certificate."""
        return self.chain[0]

    @property
    def listed_names(self) -> str:
        """The first names that it covers, as text."""
        text = ", ".join(self.names[:MAX_LISTED_NAMES]) or "no name at all"
        omitted = len(self.names) - MAX_LISTED_NAMES
        return f"{text} and {omitted} more" if omitted > 0 else text

    def expires_in_days(self, now: datetime) -> int:
        """Count the whole days until it expires; negative afterwards."""
        return (self.own.not_after - now).days


def pin_of(certificate: bytes) -> str | None:
    """Compute the pin of a DER certificate's key; None if unreadable."""
    from cryptography import x509  # as in `from_chain`

    try:
        return _compute_pin(x509.load_der_x509_certificate(certificate))
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension):
        return None


def _make_link(certificate: "x509.Certificate") -> ChainLink:
    return ChainLink(
        subject=_clean_text(certificate.subject.rfc4514_string()),
        issuer=_clean_text(certificate.issuer.rfc4514_string()),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        pin=_compute_pin(certificate),
    )


def _compute_pin(certificate: "x509.Certificate") -> str:
    """Hash the key alone, so a renewal keeps the pin (RFC 7469 section 2.4)."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256/{base64.b64encode(hashlib.sha256(key).digest()).decode()}"


def _read_names(certificate: "x509.Certificate") -> tuple[str, ...]:
    from cryptography import x509  # as in `from_chain`

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    extension = names.value
    addresses = extension.get_values_for_type(x509.IPAddress)
    texts = [*extension.get_values_for_type(x509.DNSName), *map(str, addresses)]
    return tuple(map(_clean_text, texts))


def _clean_text(text: str) -> str:
    """Shorten foreign text, and replace unprintable characters."""
    return "".join(char if char.isprintable() else "?" for char in text[:MAX_TEXT_CHARACTERS])
