"""The types of a profile's fields, each with its bounds and what to write instead."""

import ipaddress
import re
from functools import partial
from typing import Annotated, Final, Literal

import idna
from pydantic import AfterValidator, Field, SecretStr

from app.api.bodies import NAME, Line, Secret, Text, check_name
from app.api.pem import check_certificates, check_private_key
from app.domain.addresses import check_pattern

MAX_HOST_CHARACTERS: Final = 253
MAX_PATTERNS: Final = 100
MAX_PEM_CHARACTERS: Final = 65_536
MAX_PINS: Final = 20

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# A digest of 32 bytes. Curl writes two strokes; one alone may be the digest's own first character.
_PIN: Final = re.compile(r"sha256//?([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


def parse_host(text: str) -> str:
    """A host name (its A-label, lower case) or an IP address; raises ValueError."""
    bare = text.strip("[]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    if "/" in text or ":" in text or "@" in text:
        raise ValueError(
            "write the host name alone, such as smtp.example.com; the port goes in port"
        )
    name = _a_label(text.rstrip(".").lower())
    labels = name.split(".")
    if len(name) > MAX_HOST_CHARACTERS or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("it is no host name; write one such as smtp.example.com")
    if _NUMBER.fullmatch(labels[-1]):  # what old resolvers read as an address: 127.1, 0x7f000001
        raise ValueError("it is no host name; write an IP address in its usual form, as 192.0.2.1")
    return name


def _a_label(name: str) -> str:
    if name.isascii():
        return name
    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise ValueError("it is no host name that can be written in ASCII") from None


def _parse_source(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("write an IP address of this machine, such as 192.0.2.1") from None
    if address.is_multicast or address.is_unspecified:
        raise ValueError("a connection cannot come from this address; write one of this machine's")
    return str(address)


def _check_key(key: SecretStr) -> SecretStr:
    check_private_key(key.get_secret_value())
    return key


def _parse_pin(text: str) -> str:
    found = _PIN.fullmatch(text)
    if found is None:
        raise ValueError(
            "write sha256/ and the 44 characters of base64 of the SHA-256 of the key"
            " (SubjectPublicKeyInfo), as RFC 7469 has it"
        )
    return f"sha256/{found[1]}"


def _unique(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(texts))


Name = Annotated[
    str,
    Field(
        json_schema_extra={"pattern": f"^{NAME.pattern}$"},
        description="Unique in the tenant: 1 to 100 of letters, digits and `._-`.",
        examples=["transactional"],
    ),
    AfterValidator(partial(check_name, prefix="prf")),
]
Host = Annotated[
    Line,
    Field(
        min_length=1,
        max_length=MAX_HOST_CHARACTERS + 2,
        description="The SMTP server: a host name, or an IP address.",
        examples=["smtp.example.com"],
    ),
    AfterValidator(parse_host),
]
Port = Annotated[
    int,
    Field(
        strict=True,
        ge=1,
        le=65535,
        description="Its TCP port: 587 with `starttls`, 465 with `implicit`. The operator limits"
        " which ports may be named (HELOISE_ALLOWED_PORTS).",
    ),
]
SourceAddress = Annotated[
    Line,
    Field(max_length=64, description="The address of this machine to connect from."),
    AfterValidator(_parse_source),
]
Certificates = Annotated[
    Text, Field(max_length=MAX_PEM_CHARACTERS), AfterValidator(check_certificates)
]
TlsVersion = Annotated[
    Literal["1.0", "1.1", "1.2", "1.3"],
    Field(
        description="The oldest version of TLS to speak. With 1.0 or 1.1, which were given up for"
        " good reasons (RFC 8996), weak keys and signatures are taken as well."
    ),
]
ServerName = Annotated[
    Line,
    Field(
        min_length=1,
        max_length=MAX_HOST_CHARACTERS + 2,
        description="The name to ask for in TLS (SNI) and to find in the server's certificate,"
        " where it is not `host`: for one that is an address, or a name of the inner network.",
        examples=["smtp.example.com"],
    ),
    AfterValidator(parse_host),
]
Pin = Annotated[Line, Field(max_length=100), AfterValidator(_parse_pin)]
Pins = Annotated[
    list[Pin],
    Field(
        max_length=MAX_PINS,
        description="Keys to insist on, one of which must be the server's or that of an authority"
        " by which it was verified (with `opportunistic`: the server's): `sha256/` and the base64"
        " of the SHA-256 of the key (RFC 7469). All else is verified besides. Name a second one"
        " for the day when the key is changed. Empty: any key.",
        examples=[["sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]],
    ),
    AfterValidator(_unique),
]
ClientKey = Annotated[Secret, Field(max_length=MAX_PEM_CHARACTERS), AfterValidator(_check_key)]
Username = Annotated[Line, Field(min_length=1, max_length=320)]
Password = Annotated[Secret, Field(min_length=1, max_length=4096)]
Pattern = Annotated[Line, Field(max_length=320), AfterValidator(check_pattern)]
Patterns = Annotated[
    list[Pattern],
    Field(
        max_length=MAX_PATTERNS,
        description="Whom it may send as: `user@example.com`, `*@example.com`,"
        " `*@*.example.com`. Empty: anybody.",
        examples=[["*@example.com"]],
    ),
    AfterValidator(_unique),
]
Connections = Annotated[
    int, Field(strict=True, ge=1, le=100, description="At most so many connections at a time.")
]
MessagesPerConnection = Annotated[
    int,
    Field(
        strict=True, ge=1, le=100_000, description="After so many messages a connection is closed."
    ),
]
Seconds = Annotated[float, Field(strict=True, ge=1, le=3600, allow_inf_nan=False)]
ProfileRef = Annotated[Line, Field(min_length=1, max_length=100)]
FallbackAfter = Annotated[int, Field(strict=True, ge=0, le=604_800)]
RetrySeconds = Annotated[float, Field(strict=True, ge=1, le=86_400, allow_inf_nan=False)]
RetryFactor = Annotated[float, Field(strict=True, ge=1, le=10, allow_inf_nan=False)]
MaxAge = Annotated[int, Field(strict=True, ge=60, le=2_592_000)]
UnknownOutcomes = Annotated[int, Field(strict=True, ge=1, le=100)]
RateAmount = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
RateSeconds = Annotated[int, Field(strict=True, ge=1, le=86_400)]
