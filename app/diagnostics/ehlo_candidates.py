"""List candidates for the EHLO name, best first."""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.domain.ehlo import (
    LOOPBACK,
    NO_OTHER_NAMES,
    EhloNames,
    OtherNames,
    format_address_literal,
    is_private,
    parse_ehlo_name,
)
from app.domain.types import Profile

MAX_CANDIDATES: Final = 12
# Addresses in EHLO replies, such as `Hello mail.example.com [192.0.2.1]`.
_ADDRESS: Final = re.compile(r"[0-9a-fA-F:.]{3,45}")


class NameSource(StrEnum):
    """Where a name comes from, in the order of the trials.

    `sender_domain`: `default_from` and `allowed_from`. `signing_domain`: the tenant's domains.
    `pointer`: the PTR record of Heloise's address.
    """

    SENDER_DOMAIN = "sender_domain"
    PROFILE = "profile"
    TENANT = "tenant"
    SIGNING_DOMAIN = "signing_domain"
    OTHER_PROFILE = "other_profile"
    SERVICE = "service"
    POINTER = "pointer"
    HOSTNAME = "hostname"
    ADDRESS_LITERAL = "address_literal"


# So that a profile with many domains still tries the other sources. Sender domains are fewer than
# the closed connections after which the trials stop.
MAX_NAMES: Final[Mapping[NameSource, int]] = {
    NameSource.SENDER_DOMAIN: 2,
    NameSource.SIGNING_DOMAIN: 2,
    NameSource.OTHER_PROFILE: 2,
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A name to try, and its source."""

    name: str
    source: NameSource


def list_candidates(
    names: EhloNames,
    *,
    others: OtherNames = NO_OTHER_NAMES,
    pointers: Sequence[str],
    outgoing_address: str | None,
) -> tuple[Candidate, ...]:
    """List at most twelve distinct, valid names, in the order of `NameSource`.

    Relays such as Google's accept a client by the domain of its senders, so these come first.
    `pointers` are the PTR names of `outgoing_address`, which the server sees.
    """
    literal = format_address_literal(outgoing_address or LOOPBACK)
    by_name: dict[str, Candidate] = {}
    counts = Counter[NameSource]()
    for candidate in _list_all(names, others, pointers):
        source = candidate.source
        if candidate.name not in {*by_name, literal} and counts[source] < MAX_NAMES.get(
            source, MAX_CANDIDATES
        ):
            by_name[candidate.name] = candidate
            counts[source] += 1
    return (
        *tuple(by_name.values())[: MAX_CANDIDATES - 1],
        Candidate(literal, NameSource.ADDRESS_LITERAL),
    )


def _list_all(names: EhloNames, others: OtherNames, pointers: Sequence[str]) -> Iterator[Candidate]:
    sourced_names = (
        *((NameSource.SENDER_DOMAIN, domain) for domain in others.sender_domains),
        (NameSource.PROFILE, names.profile),
        (NameSource.TENANT, names.tenant),
        *((NameSource.SIGNING_DOMAIN, domain) for domain in others.signing_domains),
        *((NameSource.OTHER_PROFILE, name) for name in others.other_profiles),
        (NameSource.SERVICE, names.service),
        *((NameSource.POINTER, pointer) for pointer in pointers),
        # A private name would leak, and servers refuse it.
        (NameSource.HOSTNAME, None if is_private(names.hostname or "") else names.hostname),
    )
    for source, text in sourced_names:
        try:
            yield Candidate(parse_ehlo_name(text or ""), source)
        except ValueError:
            continue


def list_sender_domains(profile: Profile) -> tuple[str, ...]:
    """List the domains of the profile's senders: of `default_from`, then of `allowed_from`."""
    senders = [profile.default_from.address] if profile.default_from else []
    domains = (sender.rpartition("@")[2] for sender in (*senders, *profile.allowed_from))
    return tuple(domain.removeprefix("*.") for domain in domains if not domain.startswith("["))


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
