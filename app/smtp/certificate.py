"""Parse a server's certificate chain: names, validity and issuers."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MAX_TEXT_CHARACTERS: Final = 200
MAX_LISTED_NAMES: Final = 8

_Names = x509.SubjectAlternativeName
_UNREADABLE: Final = (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainLink:
    """One certificate of a chain; `pin` is its key's, as a profile's `tls_pins` has it."""

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    pin: str

    @property
    def self_signed(self) -> bool:
        """Whether it is self-issued."""
        return self.subject == self.issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A server's certificate with the chain that it showed, itself the first.

    `names` are the host names and the addresses that it is for.
    """

    names: tuple[str, ...]
    chain: tuple[ChainLink, ...]

    @classmethod
    def from_chain(cls, der_chain: Sequence[bytes]) -> Self | None:
        """From a chain in DER; None where there is none, or none that can be read."""
        try:
            chain = [x509.load_der_x509_certificate(data) for data in der_chain]
            links = tuple(_make_link(certificate) for certificate in chain)
            return cls(names=_read_names(chain[0]), chain=links) if chain else None
        except _UNREADABLE:
            return None

    @property
    def subject(self) -> str:
        """The subject (RFC 4514)."""
        return self.chain[0].subject

    @property
    def issuer(self) -> str:
        """The issuer (RFC 4514)."""
        return self.chain[0].issuer

    @property
    def not_before(self) -> datetime:
        """Since when it is valid."""
        return self.chain[0].not_before

    @property
    def not_after(self) -> datetime:
        """Until when it is valid."""
        return self.chain[0].not_after

    @property
    def pin(self) -> str:
        """Its key's pin, as a profile's `tls_pins` has it."""
        return self.chain[0].pin

    @property
    def self_signed(self) -> bool:
        """Whether it is self-issued."""
        return self.chain[0].self_signed

    @property
    def listed_names(self) -> str:
        """The names that it is for, in words: the first few of them."""
        text = ", ".join(self.names[:MAX_LISTED_NAMES]) or "no name at all"
        omitted = len(self.names) - MAX_LISTED_NAMES
        return f"{text} and {omitted} more" if omitted > 0 else text

    def expires_in_days(self, now: datetime) -> int:
        """For how many whole days it is still valid; negative once it is not."""
        return (self.not_after - now).days


def pin_of(certificate: bytes) -> str | None:
    """The pin of the key of a certificate in DER; None where it cannot be read."""
    try:
        return _compute_pin(x509.load_der_x509_certificate(certificate))
    except _UNREADABLE:
        return None


def _make_link(certificate: x509.Certificate) -> ChainLink:
    return ChainLink(
        subject=_clean_text(certificate.subject.rfc4514_string()),
        issuer=_clean_text(certificate.issuer.rfc4514_string()),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        pin=_compute_pin(certificate),
    )


def _compute_pin(certificate: x509.Certificate) -> str:
    """RFC 7469 section 2.4: of the key alone, so that it outlives a renewed certificate."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256/{base64.b64encode(hashlib.sha256(key).digest()).decode()}"


def _read_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(_Names).value
    except x509.ExtensionNotFound:
        return ()
    addresses = extension.get_values_for_type(x509.IPAddress)
    names = [*extension.get_values_for_type(x509.DNSName), *map(str, addresses)]
    return tuple(map(_clean_text, names))


def _clean_text(text: str) -> str:
    """What a stranger wrote, fit to be shown."""
    return "".join(char if char.isprintable() else "?" for char in text[:MAX_TEXT_CHARACTERS])
