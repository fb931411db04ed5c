"""Define the field types of profiles, with limits and error messages."""

import ipaddress
import re
from functools import partial
from typing import Annotated, Final, Literal

import idna
from pydantic import AfterValidator, Field

from app.api.http.fields import NAME_PATTERN, Line, Secret, Text, check_name
from app.api.profiles.pem import check_certificates, check_private_key
from app.domain.address.parse import parse_pattern

MAX_HOST_CHARACTERS: Final = 253
MAX_PATTERNS: Final = 100
MAX_PEM_CHARACTERS: Final = 65_536
MAX_PINS: Final = 20

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# A digest of 32 bytes. Curl writes `sha256//`; a single slash may start the digest itself.
_PIN: Final = re.compile(r"sha256//?([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


def parse_host(text: str) -> str:
    """Parse a host name (to its A-label, lower case) or IP address; raises ValueError."""
    bare = text.strip("[]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    if "/" in text or ":" in text or "@" in text:
        raise ValueError("write only the host name, such as smtp.example.com; set the port in port")
    name = _encode_label(text.rstrip(".").lower())
    labels = name.split(".")
    if len(name) > MAX_HOST_CHARACTERS or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("not a host name; write one such as smtp.example.com")
    if _NUMBER.fullmatch(labels[-1]):  # old resolvers read these as addresses: 127.1, 0x7f000001
        raise ValueError(
            "not a host name; write an IP address in its usual form, such as 192.0.2.1"
        )
    return name


def _encode_label(name: str) -> str:
    if name.isascii():
        return name
    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise ValueError(
            "not a host name that ASCII can express; write one such as smtp.example.com"
        ) from None


def _parse_source(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("write an IP address of this machine, such as 192.0.2.1") from None
    if address.is_multicast or address.is_unspecified:
        raise ValueError("connections cannot use this address; write an IP address of this machine")
    return str(address)


def _parse_pin(text: str) -> str:
    match = _PIN.fullmatch(text)
    if match is None:
        raise ValueError(
            "write sha256/ and the base64 (44 characters) of the key's SHA-256"
            " (SubjectPublicKeyInfo, RFC 7469)"
        )
    return f"sha256/{match[1]}"


def _drop_repeats(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(texts))


Name = Annotated[
    str,
    Field(
        json_schema_extra={"pattern": f"^{NAME_PATTERN.pattern}$"},
        description="Unique in the tenant: 1 to 100 letters, digits, `.`, `_` and `-`.",
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
        description="The TCP port: 587 with `starttls`, 465 with `implicit`. The operator limits"
        " the ports (HELOISE_ALLOWED_PORTS).",
    ),
]
SourceAddress = Annotated[
    Line,
    Field(max_length=64, description="The local IP address for connections."),
    AfterValidator(_parse_source),
]
Certificates = Annotated[
    Text, Field(max_length=MAX_PEM_CHARACTERS), AfterValidator(check_certificates)
]
TlsVersion = Annotated[
    Literal["1.0", "1.1", "1.2", "1.3"],
    Field(
        description="The minimum TLS version. 1.0 and 1.1 are deprecated (RFC 8996) and also allow"
        " weak keys and signatures."
    ),
]
ServerName = Annotated[
    Line,
    Field(
        min_length=1,
        max_length=MAX_HOST_CHARACTERS + 2,
        description="The name for SNI and certificate verification, if it differs from `host`: for"
        " a `host` that is an address or an internal name.",
        examples=["smtp.example.com"],
    ),
    AfterValidator(parse_host),
]
Pin = Annotated[Line, Field(max_length=100), AfterValidator(_parse_pin)]
Pins = Annotated[
    list[Pin],
    Field(
        max_length=MAX_PINS,
        description="Pinned keys: `sha256/` and the base64 of the key's SHA-256 (RFC 7469). One"
        " must match the server's key or that of an authority in its verified chain (with"
        " `opportunistic`: the server's). Other checks still apply. Add a second pin before you"
        " replace a key. Empty: any key.",
        examples=[["sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]],
    ),
    AfterValidator(_drop_repeats),
]
ClientKey = Annotated[
    Secret, Field(max_length=MAX_PEM_CHARACTERS), AfterValidator(check_private_key)
]
Username = Annotated[Line, Field(min_length=1, max_length=320)]
Password = Annotated[Secret, Field(min_length=1, max_length=4096)]
Pattern = Annotated[Line, Field(max_length=320), AfterValidator(parse_pattern)]
Patterns = Annotated[
    list[Pattern],
    Field(
        max_length=MAX_PATTERNS,
        description="Allowed sender addresses: `user@example.com`, `*@example.com`,"
        " `*@*.example.com`. Empty: any.",
        examples=[["*@example.com"]],
    ),
    AfterValidator(_drop_repeats),
]
Connections = Annotated[
    int, Field(strict=True, ge=1, le=100, description="The maximum number of connections.")
]
MessagesPerConnection = Annotated[
    int,
    Field(
        strict=True,
        ge=1,
        le=100_000,
        description="Heloise closes a connection after this number of messages.",
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
