"""List candidates for the EHLO name, best first."""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.domain.ehlo import LOOPBACK, EhloNames, format_address_literal, is_private, parse_ehlo_name

MAX_CANDIDATES: Final = 6
# Addresses in EHLO replies, such as `Hello mail.example.com [192.0.2.1]`.
_ADDRESS: Final = re.compile(r"[0-9a-fA-F:.]{3,45}")


class NameSource(StrEnum):
    """Where a name comes from. `pointer`: the PTR record of Heloise's address."""

    PROFILE = "profile"
    TENANT = "tenant"
    SERVICE = "service"
    HOSTNAME = "hostname"
    POINTER = "pointer"
    ADDRESS_LITERAL = "address_literal"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A name to try, and its source."""

    name: str
    source: NameSource


def list_candidates(
    names: EhloNames, *, pointers: Sequence[str], outgoing_address: str | None
) -> tuple[Candidate, ...]:
    """List at most six distinct, valid names.

    `pointers` are the PTR names of `outgoing_address`, which the server sees.
    """
    by_name: dict[str, Candidate] = {}
    for candidate in _list_all(names, pointers):
        by_name.setdefault(candidate.name, candidate)
    literal = format_address_literal(outgoing_address or LOOPBACK)
    others = [candidate for candidate in by_name.values() if candidate.name != literal]
    return *others[: MAX_CANDIDATES - 1], Candidate(literal, NameSource.ADDRESS_LITERAL)


def _list_all(names: EhloNames, pointers: Iterable[str]) -> Iterator[Candidate]:
    sourced_names = (
        (NameSource.PROFILE, names.profile),
        (NameSource.TENANT, names.tenant),
        (NameSource.SERVICE, names.service),
        # A private name would leak, and servers refuse it.
        (NameSource.HOSTNAME, None if is_private(names.hostname or "") else names.hostname),
        *((NameSource.POINTER, pointer) for pointer in pointers),
    )
    for source, text in sourced_names:
        try:
            yield Candidate(parse_ehlo_name(text or ""), source)
        except ValueError:
            continue


def parse_seen_address(greeting: str) -> str | None:
    """Find our address in the first line of the server's EHLO reply.

    For example `mx.google.com at your service, [192.0.2.1]`. Takes the last address, because the
    EHLO name may be an address too. None if there is none: RFC 5321 section 4.1.1.1 does not
    require it.
    """
    first = greeting.partition("\n")[0]
    for text in reversed(_ADDRESS.findall(re.sub("ipv6:", "", first, flags=re.IGNORECASE))):
        try:
            return str(ipaddress.ip_address(text.strip(".")))
        except ValueError:
            continue
    return None
