"""Validate EHLO names and choose the effective one (RFC 5321 sections 4.1.1.1, 4.1.3).

Strict servers refuse `EHLO localhost` or a container's id. So only this module chooses the name,
from profile, tenant, service and machine, and reports its source.
"""

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import idna

from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.networks import unmap_ipv4

# RFC 5321 section 4.1.2: Domain = sub-domain *("." sub-domain), letters, digits, inner hyphens.
LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Resolvers read these as parts of an IPv4 address: 127.1, 0x7f000001.
NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
MAX_NAME_BYTES: Final = 255
IPV6_TAG: Final = "ipv6:"

LOCAL_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "localhost6"})
# Top-level domains outside the public DNS (RFC 2606, 6761, 6762, 7686, 8375, 9476, and common
# private ones).
PRIVATE_DOMAINS: Final = frozenset(
    {
        "alt",
        "arpa",
        "corp",
        "example",
        "home",
        "internal",
        "intranet",
        "invalid",
        "lan",
        "local",
        "localdomain",
        "localdomain4",
        "localdomain6",
        "localhost",
        "onion",
        "private",
        "test",
    }
)
LOOPBACK: Final = "127.0.0.1"

WRITE_INSTEAD: Final = "write a fully qualified domain name of yours, such as mail.example.com"

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class EhloSource(StrEnum):
    """Where the EHLO name comes from, in order of precedence."""

    PROFILE = "profile"
    TENANT = "tenant"
    SERVICE = "service"
    HOSTNAME = "hostname"
    ADDRESS_LITERAL = "address_literal"


@dataclass(frozen=True, slots=True)
class EffectiveEhlo:
    """The EHLO name, its source, and warnings about servers that may refuse it."""

    name: str
    source: EhloSource
    warnings: tuple[str, ...] = ()


def parse_ehlo_name(text: str) -> str:
    """Normalize a domain name to its A-label, or an address literal.

    Raises ValueError with a correction.
    """
    if not text:
        raise ValueError(f"empty; {WRITE_INSTEAD}")
    if _CONTROL.search(text):
        raise ValueError(f"contains a control character or a line break; {WRITE_INSTEAD}")
    if any(character.isspace() for character in text):
        raise ValueError(f"contains a space; {WRITE_INSTEAD}")
    if text.startswith("[") or text.endswith("]"):
        return _parse_literal(text)
    if literal := _suggest_literal(text):
        raise ValueError(
            f"a bare IP address is not a name; write {literal} or a domain name of yours"
        )
    return _parse_domain(text)


def _parse_literal(text: str) -> str:
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else ""
    is_tagged = inner.lower().startswith(IPV6_TAG)
    try:
        address = ipaddress.ip_address(inner[len(IPV6_TAG) :] if is_tagged else inner)
    except ValueError:
        raise ValueError(
            "not an address literal; write [192.0.2.1], [IPv6:2001:db8::1] or a domain name"
        ) from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise ValueError("an address literal has no zone; leave out the % and what follows")
    if is_tagged is not (address.version == 6):  # noqa: PLR2004 - IPv6
        raise ValueError(f"write {format_address_literal(str(address))}")
    return format_address_literal(str(address))


def _suggest_literal(text: str) -> str | None:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return format_address_literal(text)


def format_address_literal(address: str) -> str:
    """Format `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3).

    Drops a zone, and writes a mapped IPv4 address as IPv4.
    """
    ip = unmap_ipv4(ipaddress.ip_address(address.partition("%")[0]))
    return f"[IPv6:{ip}]" if isinstance(ip, ipaddress.IPv6Address) else f"[{ip}]"


def _parse_domain(text: str) -> str:
    name = _encode_a_label(text).lower().removesuffix(".")
    if name in LOCAL_NAMES or name.endswith(".localhost"):
        raise ValueError(f"strict servers refuse {name}; {WRITE_INSTEAD}")
    if "_" in name:
        raise ValueError(f"a host name has no underscore; {WRITE_INSTEAD}")
    if len(name) > MAX_NAME_BYTES:
        raise ValueError(f"has {len(name)} characters; write at most {MAX_NAME_BYTES}")
    labels = name.split(".")
    for label in labels:
        _check_label(label)
    if len(labels) == 1:
        raise ValueError(f"strict servers refuse a name without a domain; {WRITE_INSTEAD}")
    if NUMBER.fullmatch(labels[-1]):
        raise ValueError(f"the last part is a number, as in an IP address; {WRITE_INSTEAD}")
    return name


def _encode_a_label(text: str) -> str:
    if text.isascii():
        return text
    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise ValueError(f"ASCII cannot express it (IDNA 2008); {WRITE_INSTEAD}") from None


def _check_label(label: str) -> None:
    if not label:
        raise ValueError(f"has two dots in a row or begins with a dot; {WRITE_INSTEAD}")
    if len(label) > 63:  # noqa: PLR2004 - RFC 1035 section 2.3.4
        raise ValueError(f"the part {label[:20]}… has {len(label)} characters; write at most 63")
    if label.startswith("-") or label.endswith("-"):
        raise ValueError(f"a part begins or ends with a hyphen; {WRITE_INSTEAD}")
    if LABEL.fullmatch(label) is None:
        raise ValueError(f"use only letters, digits, hyphens and dots; {WRITE_INSTEAD}")


@frozen_dataclass
class EhloNames:
    """The candidates in order of precedence; None if one is not set."""

    profile: str | None = None
    tenant: str | None = None
    service: str | None = None
    hostname: str | None = None

    def of_profile(self, profile: str | None, tenant: str | None) -> "EhloNames":
        """Add the names of a profile and its tenant to those of service and machine."""
        return EhloNames(profile, tenant, self.service, self.hostname)


@frozen_dataclass(kw_only=True)
class OtherNames:
    """Names that verify tries too, if the server refuses the effective one."""

    sender_domains: tuple[str, ...] = ()
    signing_domains: tuple[str, ...] = ()
    other_profiles: tuple[str, ...] = ()


NO_OTHER_NAMES: Final = OtherNames()


def effective_ehlo(names: EhloNames, local_address: str | None) -> EffectiveEhlo:
    """Choose the first configured name, else the machine's full name, else its address.

    The machine's name counts only if it is public, so Heloise never picks `localhost`, a
    container's id or a private name.
    """
    candidates = (
        (EhloSource.PROFILE, names.profile),
        (EhloSource.TENANT, names.tenant),
        (EhloSource.SERVICE, names.service),
        (EhloSource.HOSTNAME, _find_public_name(names.hostname)),
        (EhloSource.ADDRESS_LITERAL, format_address_literal(local_address or LOOPBACK)),
    )
    source, name = next((source, name) for source, name in candidates if name is not None)
    return EffectiveEhlo(name, source, _collect_warnings(name, source))


def _find_public_name(hostname: str | None) -> str | None:
    try:
        name = parse_ehlo_name(hostname or "")
    except ValueError:
        return None
    return None if is_private(name) or name.startswith("[") else name


def is_private(name: str) -> bool:
    """Whether a name is valid only inside a private network."""
    return name.rpartition(".")[2] in PRIVATE_DOMAINS


def _collect_warnings(name: str, source: EhloSource) -> tuple[str, ...]:
    warnings = []
    if source is EhloSource.ADDRESS_LITERAL:
        warnings.append(
            "No name is set, so Heloise sends an address in EHLO, which strict servers refuse. Set"
            " ehlo_name."
        )
    elif name.startswith("["):
        warnings.append("Some servers refuse an address instead of a name.")
    if source is EhloSource.HOSTNAME:
        warnings.append(
            "This is the machine's host name and changes with the machine. Set ehlo_name to fix it."
        )
    if is_private(name):
        warnings.append("The name is private; servers on the internet cannot look it up.")
    return tuple(warnings)
