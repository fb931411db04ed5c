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

from app.domain.mime.blocks import join_blocks
from app.domain.mime.transfer_encoding import CRLF, split_line_blocks

RSA_BITS: Final = 2048
PUBLIC_EXPONENT: Final = 65_537
MAX_LINE_CHARACTERS: Final = 76
# A string of a TXT record holds no more (RFC 1035 section 3.3.14).
MAX_STRING_BYTES: Final = 255

# What a reader is shown, or acts upon (RFC 6376 section 5.4.1, RFC 8058 section 4).
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
# Named once more than they are there, so that nobody adds another (section 8.15).
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
        """The tag `k=` of a record."""
        return self.value.partition("-")[0]


class DkimKeyStatus(StrEnum):
    """`pending` until its record exists, `active` while it signs, `retired` after that."""

    PENDING = "pending"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimKey:
    """A key of a domain without its secret half. `public_key` is base64, as the record has it.

    `found_at` is when its record was last found, where it was there at the last look-up;
    `problem` is what was wrong with it then. After `record_needed_until` nothing that was signed
    with a retired key is under way any more.
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
        """Whether it signs."""
        if self.retired_at is not None:
            return DkimKeyStatus.RETIRED
        return DkimKeyStatus.PENDING if self.found_at is None else DkimKeyStatus.ACTIVE

    @property
    def record(self) -> str:
        """What is to stand in the DNS, as one text (RFC 6376 section 3.6.1)."""
        return f"v=DKIM1; k={self.algorithm.key_type}; p={self.public_key}"

    def record_name(self, domain: str) -> str:
        """Where it is to stand."""
        return f"{self.selector}._domainkey.{domain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingDomain:
    """A domain whose messages a tenant has signed, with its keys, newest first."""

    id: str
    tenant_id: str
    domain: str
    keys: tuple[DkimKey, ...] = ()
    created_at: datetime
    updated_at: datetime

    @property
    def is_signed(self) -> bool:
        """Whether what is sent from it is signed."""
        return any(key.status is DkimKeyStatus.ACTIVE for key in self.keys)


@dataclass(frozen=True, slots=True)
class DkimSigner:
    """Signs for a domain, with a key whose record is known to be there."""

    domain: str
    selector: str
    algorithm: DkimAlgorithm
    key: PrivateKey = field(repr=False)

    def build_signature(self, header: bytes, body_hash: str, now: datetime) -> bytes:
        """The field DKIM-Signature of a message whose header has this form, with its CRLF."""
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
        else:  # RFC 8463 section 3: of the hash, not of the header
            signature = self.key.sign(sha256(data).digest())
        return base64.b64encode(signature).decode()


@dataclass(frozen=True, slots=True)
class Signing:
    """Whose messages are signed, and with what: signers by their domain."""

    by_domain: Mapping[str, tuple[DkimSigner, ...]] = field(default_factory=dict)

    def find_signers(self, domain: str) -> tuple[DkimSigner, ...]:
        """Those of a domain, or of the nearest above it that has any (RFC 7489 section 3.1.1)."""
        while domain:
            if signers := self.by_domain.get(domain):
                return signers
            domain = domain.partition(".")[2]
        return ()

    def sign(self, mime: bytes, domain: str, now: datetime) -> bytes:
        """A message from this domain with its signatures before it; without any, as it is."""
        signers = self.find_signers(domain)
        if not signers:
            return mime
        header, _, body = mime.partition(CRLF + CRLF)
        body_hash = base64.b64encode(sha256(_relax_body(body)).digest()).decode()
        signatures = [signer.build_signature(header + CRLF, body_hash, now) for signer in signers]
        return b"".join([*signatures, mime])


NO_SIGNING: Final = Signing()


def generate_key(algorithm: DkimAlgorithm) -> tuple[str, str]:
    """A new key: its secret half as PEM (PKCS #8), and its public one as a record has it."""
    key: PrivateKey
    if algorithm is DkimAlgorithm.RSA_SHA256:
        key = rsa.generate_private_key(PUBLIC_EXPONENT, RSA_BITS)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:  # RFC 8463 section 4: the key alone
        key = ed25519.Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes_raw()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode(), base64.b64encode(public).decode()


def load_key(pem: str) -> PrivateKey:
    """The key that `new_key` made."""
    key = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise TypeError("no key to sign with")
    return key


def find_record_problem(key: DkimKey, records: Iterable[str]) -> str | None:
    """What is wrong with the TXT records at a key's name; None where one of them is right.

    A record is right with the same key, whatever else it says, unless that forbids its use for
    mail, or with SHA-256 (RFC 6376 section 3.6.1).
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
    """The ids of keys that sign no more: a newer one of the same algorithm does."""
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
    """The fields of a header in their relaxed form, by name, in their order."""
    fields = dict[str, list[bytes]]()
    for line in _FOLDS.sub(b"", header).split(CRLF):
        if line:
            name = line.partition(b":")[0].strip().decode().lower()
            fields.setdefault(name, []).append(_relax(line))
    return fields


def _select_fields(fields: Mapping[str, list[bytes]], names: Iterable[str]) -> Iterable[bytes]:
    """The fields that are named, from the last to the first; one that is not there is nothing."""
    remaining = {name: list(values) for name, values in fields.items()}
    for name in names:
        if remaining.get(name):
            yield remaining[name].pop()


def _relax(line: bytes) -> bytes:
    """A field in its relaxed form (RFC 6376 section 3.4.2)."""
    name, _, value = line.replace(CRLF, b"").partition(b":")
    return name.strip().lower() + b":" + _SPACES.sub(b" ", value).strip() + CRLF


def _relax_body(body: bytes) -> bytes:
    """A body in its relaxed form (section 3.4.4)."""
    relaxed_body = join_blocks(map(_relax_lines, split_line_blocks(body))).rstrip(CRLF)
    return relaxed_body + CRLF if relaxed_body else b""


def _relax_lines(lines: bytes) -> bytes:
    lines = lines.replace(b"\t", b" ")
    while b"  " in lines:  # as often as the longest line can be halved
        lines = lines.replace(b"  ", b" ")
    return lines.replace(b" \r\n", CRLF)


def _fold_list(tag: str, names: list[str]) -> str:
    """A tag whose value is a list, in lines."""
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
