"""Sign messages with DKIM (RFC 6376, RFC 8463), relaxed/relaxed."""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from app.domain.mime.byte_blocks import join_blocks
from app.domain.mime.transfer_encoding import CRLF, split_line_blocks

RSA_BITS: Final = 2048
PUBLIC_EXPONENT: Final = 65_537
MAX_LINE_CHARACTERS: Final = 76

# Fields that readers see or act on (RFC 6376 section 5.4.1, RFC 8058 section 4).
SIGNED_FIELDS: Final = (
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "auto-submitted",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
)
# Signed once more than they occur, so that nobody can add another (section 8.15).
OVERSIGNED_FIELDS: Final = frozenset(
    {"from", "reply-to", "to", "cc", "subject", "date", "content-type"}
)

_SPACES: Final = re.compile(rb"[ \t]+")
_FOLDS: Final = re.compile(rb"\r\n(?=[ \t])")
_TAG_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class DkimAlgorithm(StrEnum):
    """The signature algorithm, as in the tag `a=`."""

    RSA_SHA256 = "rsa-sha256"
    ED25519_SHA256 = "ed25519-sha256"

    @property
    def key_type(self) -> str:
        """Return the tag `k=` of a record."""
        return self.value.partition("-")[0]


class DkimKeyStatus(StrEnum):
    """`pending` until its record exists, `active` while it signs, `retired` after that."""

    PENDING = "pending"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimKey:
    """A key of a domain without its private key; `public_key` is base64.

    `found_at` is when the last look-up found its record; `problem` is what was wrong otherwise.
    After `record_needed_until` no message signed with a retired key is in transit.
    """

    id: str
    selector: str
    algorithm: DkimAlgorithm
    public_key: str
    created_at: datetime
    found_at: datetime | None = None
    checked_at: datetime | None = None
    problem: str | None = None
    retired_at: datetime | None = None
    record_needed_until: datetime | None = None

    @property
    def status(self) -> DkimKeyStatus:
        """The status of the key."""
        if self.retired_at is not None:
            return DkimKeyStatus.RETIRED
        return DkimKeyStatus.PENDING if self.found_at is None else DkimKeyStatus.ACTIVE

    @property
    def record(self) -> str:
        """The TXT record, as one text (RFC 6376 section 3.6.1)."""
        return f"v=DKIM1; k={self.algorithm.key_type}; p={self.public_key}"

    def record_name(self, domain: str) -> str:
        """Return the DNS name of the record."""
        return f"{self.selector}._domainkey.{domain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingDomain:
    """A tenant's sending domain with its keys, newest first."""

    id: str
    tenant_id: str
    domain: str
    keys: tuple[DkimKey, ...] = ()
    created_at: datetime
    updated_at: datetime

    @property
    def is_signed(self) -> bool:
        """Whether messages from this domain are signed."""
        return any(key.status is DkimKeyStatus.ACTIVE for key in self.keys)


@dataclass(frozen=True, slots=True)
class DkimSigner:
    """Signs for a domain with a key whose record exists."""

    domain: str
    selector: str
    algorithm: DkimAlgorithm
    key: PrivateKey = field(repr=False)

    def build_signature(self, header: bytes, body_hash: str, now: datetime) -> bytes:
        """Build the DKIM-Signature field, with CRLF, for a relaxed header."""
        fields = _relax_fields(header)
        names = [
            name
            for name in SIGNED_FIELDS
            for _ in range(len(fields.get(name, ())) + (name in OVERSIGNED_FIELDS))
        ]
        head = (
            f"DKIM-Signature: v=1; a={self.algorithm}; c=relaxed/relaxed; d={self.domain};\r\n"
            f" s={self.selector}; t={int(now.timestamp())};\r\n"
            f"{_fold_list('h', names)};\r\n"
            f" bh={body_hash};\r\n b="
        ).encode()
        signed_data = b"".join([*_select_fields(fields, names), _relax(head).removesuffix(CRLF)])
        return head + _wrap(self._sign(signed_data)) + CRLF

    def _sign(self, data: bytes) -> str:
        if isinstance(self.key, rsa.RSAPrivateKey):
            signature = self.key.sign(data, padding.PKCS1v15(), SHA256())
        else:  # RFC 8463 section 3: signs the hash
            signature = self.key.sign(sha256(data).digest())
        return base64.b64encode(signature).decode()


@dataclass(frozen=True, slots=True)
class Signing:
    """The signers of each domain."""

    by_domain: Mapping[str, tuple[DkimSigner, ...]] = field(default_factory=dict)

    def find_signers(self, domain: str) -> tuple[DkimSigner, ...]:
        """Return the signers of a domain, or of its nearest parent (RFC 7489 section 3.1.1)."""
        while domain:
            if signers := self.by_domain.get(domain):
                return signers
            domain = domain.partition(".")[2]
        return ()

    def sign(self, mime: bytes, domain: str, now: datetime) -> bytes:
        """Prepend signatures to a message from this domain, if it has signers."""
        signers = self.find_signers(domain)
        if not signers:
            return mime
        header, _, body = mime.partition(CRLF + CRLF)
        body_hash = base64.b64encode(sha256(_relax_body(body)).digest()).decode()
        signatures = [signer.build_signature(header + CRLF, body_hash, now) for signer in signers]
        return b"".join([*signatures, mime])


NO_SIGNING: Final = Signing()


def generate_key(algorithm: DkimAlgorithm) -> tuple[str, str]:
    """Generate a key: the private half as PEM (PKCS #8), the public for a record."""
    key: PrivateKey
    if algorithm is DkimAlgorithm.RSA_SHA256:
        key = rsa.generate_private_key(PUBLIC_EXPONENT, RSA_BITS)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:  # RFC 8463 section 4: the bare key
        key = ed25519.Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes_raw()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode(), base64.b64encode(public).decode()


def load_key(pem: str) -> PrivateKey:
    """Load a key that `generate_key` made."""
    key = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise TypeError("no key to sign with")
    return key


def find_record_problem(key: DkimKey, records: Iterable[str]) -> str | None:
    """Describe what is wrong with a key's TXT records; None if one is right.

    A record is right if it has the same key, unless it forbids mail or SHA-256 (RFC 6376 section
    3.6.1).
    """
    problem = "there is no such TXT record"
    for text in records:
        tags = _parse_tags(text)
        if "p" not in tags:
            problem = f"the record has no tag p: {_shorten(text)}"
        elif re.sub(r"\s", "", tags["p"]) != key.public_key:
            problem = f"the record has another key: {_shorten(text)}"
        elif tags.get("k", "rsa") != key.algorithm.key_type:
            problem = f"the record says k={tags.get('k', 'rsa')}, not {key.algorithm.key_type}"
        elif tags.get("v", "DKIM1") != "DKIM1":
            problem = f"the record says v={tags['v']}, not DKIM1"
        elif not {"*", "email"} & set(tags.get("s", "*").split(":")):
            problem = f"the record is not for mail: s={tags['s']}"
        elif "sha256" not in tags.get("h", "sha256").split(":"):
            problem = f"the record forbids SHA-256: h={tags['h']}"
        else:
            return None
    return problem


def find_superseded(keys: Iterable[DkimKey]) -> set[str]:
    """Return the ids of keys that a newer one of the same algorithm replaces."""
    active = [key for key in keys if key.status is DkimKeyStatus.ACTIVE]
    newest = {key.algorithm: key.id for key in sorted(active, key=lambda key: key.id)}
    return {key.id for key in active} - set(newest.values())


def _parse_tags(text: str) -> dict[str, str]:
    tags = (tag.partition("=") for tag in text.split(";"))
    return {
        name.strip(): value.strip()
        for name, separator, value in tags
        if separator and _TAG_NAME.fullmatch(name.strip())
    }


def _shorten(text: str) -> str:
    return repr(text if len(text) <= MAX_LINE_CHARACTERS else f"{text[:MAX_LINE_CHARACTERS]}…")


def _relax_fields(header: bytes) -> dict[str, list[bytes]]:
    """Return a header's fields in relaxed form, by name, in order."""
    fields = dict[str, list[bytes]]()
    for line in _FOLDS.sub(b"", header).split(CRLF):
        if line:
            name = line.partition(b":")[0].strip().decode().lower()
            fields.setdefault(name, []).append(_relax(line))
    return fields


def _select_fields(fields: Mapping[str, list[bytes]], names: Iterable[str]) -> Iterable[bytes]:
    """Return the named fields, last first; skip missing ones."""
    remaining = {name: list(values) for name, values in fields.items()}
    for name in names:
        if remaining.get(name):
            yield remaining[name].pop()


def _relax(line: bytes) -> bytes:
    """Relax a field (RFC 6376 section 3.4.2)."""
    name, _, value = line.replace(CRLF, b"").partition(b":")
    return name.strip().lower() + b":" + _SPACES.sub(b" ", value).strip() + CRLF


def _relax_body(body: bytes) -> bytes:
    """Relax a body (RFC 6376 section 3.4.4)."""
    relaxed_body = join_blocks(map(_relax_lines, split_line_blocks(body))).rstrip(CRLF)
    return relaxed_body + CRLF if relaxed_body else b""


def _relax_lines(lines: bytes) -> bytes:
    lines = lines.replace(b"\t", b" ")
    while b"  " in lines:  # each pass halves runs of spaces
        lines = lines.replace(b"  ", b" ")
    return lines.replace(b" \r\n", CRLF)


def _fold_list(tag: str, names: list[str]) -> str:
    """Write a tag with a list, folded."""
    lines, line = [], f" {tag}="
    for number, name in enumerate(names):
        part = name if number == len(names) - 1 else f"{name}:"
        if len(line) + len(part) > MAX_LINE_CHARACTERS:
            lines.append(line)
            line = "  "
        line += part
    return "\r\n".join([*lines, line])


def _wrap(text: str) -> bytes:
    width = MAX_LINE_CHARACTERS - 4
    parts = [text[at : at + width] for at in range(0, len(text), width)]
    return "\r\n  ".join(parts).encode()
