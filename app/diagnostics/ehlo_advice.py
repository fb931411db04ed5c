"""Check an EHLO name against the DNS and the RFCs."""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from app.domain.ehlo import LOCAL_NAMES, is_private
from app.domain.networks import is_public, unmap_ipv4
from app.domain.outcome.outcome import Fault
from app.smtp.dns import Resolver
from app.smtp.faults import StageFailedError

RFC_5321_NAME: Final = "RFC 5321 section 2.3.5"
RFC_5321_EHLO: Final = "RFC 5321 section 4.1.1.1"
RFC_1912_PTR: Final = "RFC 1912 section 2.1"
GOOGLE: Final = "https://support.google.com/a/answer/81126"


class AdviceStatus(StrEnum):
    """`failed`: strict servers refuse the name. `warning`: some do, or Heloise cannot know."""

    OK = "ok"
    WARN = "warning"
    FAIL = "failed"


@dataclass(frozen=True, slots=True)
class Advice:
    """One check of the name: `check` is stable, `reason` names the rule."""

    check: str
    status: AdviceStatus
    detail: str
    reason: str


@dataclass(frozen=True, slots=True)
class Lookup:
    """The values that a lookup returned, or its error; both are empty without records."""

    values: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameFacts:
    """The DNS records of a name and of the address that the server sees.

    `outgoing_address` comes from the server if it reports one (`is_server_reported`), else from
    the socket. `pointer_addresses` are those of each PTR name.
    """

    name: str
    outgoing_address: str | None
    is_server_reported: bool = False
    addresses: Lookup = field(default_factory=Lookup)
    pointers: Lookup = field(default_factory=Lookup)
    pointer_addresses: dict[str, Lookup] = field(default_factory=dict)


async def look_up(
    resolver: Resolver,
    name: str,
    outgoing_address: str | None,
    *,
    is_server_reported: bool,
    seconds: float,
) -> NameFacts:
    """Look up a name and an address, within twice `seconds`. Raises nothing."""
    addresses, pointers = await asyncio.gather(
        _look_up(resolver.addresses, None if name.startswith("[") else name, seconds),
        _look_up(resolver.pointers, outgoing_address, seconds),
    )
    pointer_addresses = await asyncio.gather(
        *(_look_up(resolver.addresses, pointer, seconds) for pointer in pointers.values)
    )
    return NameFacts(
        name=name,
        outgoing_address=outgoing_address,
        is_server_reported=is_server_reported,
        addresses=addresses,
        pointers=pointers,
        pointer_addresses=dict(zip(pointers.values, pointer_addresses, strict=True)),
    )


async def _look_up(
    read: Callable[[str, float], Awaitable[Sequence[object]]], name: str | None, seconds: float
) -> Lookup:
    if name is None:
        return Lookup()
    try:
        return Lookup(tuple(map(str, await read(name, seconds))))
    except StageFailedError as error:
        is_absent = error.failure.fault is Fault.NOT_FOUND
        return Lookup(error="" if is_absent else error.failure.detail)


def advise(facts: NameFacts) -> tuple[Advice, ...]:
    """Assess the name from the lookups."""
    advice = [_check_form(facts.name)]
    if not facts.name.startswith("["):
        advice += [_check_resolution(facts), *_check_address(facts)]
    return *advice, _check_outgoing_address(facts), *_check_pointer(facts)


def _check_form(name: str) -> Advice:
    if name.startswith("["):
        detail = f"{name} is an address; many servers accept only a name"
        return Advice("name_form", AdviceStatus.WARN, detail, RFC_5321_EHLO)
    if name in LOCAL_NAMES or "." not in name:
        detail = f"{name} is a local name; set ehlo_name to a fully qualified domain name"
        return Advice("name_form", AdviceStatus.FAIL, detail, RFC_5321_NAME)
    if is_private(name):
        detail = (
            f"{name} is a private name that no server on the internet can look up; set ehlo_name"
            " to a public one"
        )
        return Advice("name_form", AdviceStatus.FAIL, detail, RFC_5321_NAME)
    return Advice(
        "name_form", AdviceStatus.OK, f"{name} is a fully qualified domain name", RFC_5321_NAME
    )


def _check_resolution(facts: NameFacts) -> Advice:
    name, lookup = facts.name, facts.addresses
    if lookup.error:
        return Advice("name_resolves", AdviceStatus.WARN, lookup.error, RFC_5321_NAME)
    if not lookup.values:
        detail = f"{name} has no A or AAAA record; add one"
        return Advice("name_resolves", AdviceStatus.FAIL, detail, RFC_5321_NAME)
    detail = f"{name} resolves to {_join(lookup.values)}"
    return Advice("name_resolves", AdviceStatus.OK, detail, RFC_5321_NAME)


def _check_address(facts: NameFacts) -> Sequence[Advice]:
    """Check that the name resolves to the address that the server sees.

    RFC 5321 section 4.1.4 forbids servers to refuse mail for it, but strict servers do.
    """
    ours, addresses = facts.outgoing_address, facts.addresses.values
    if ours is None or not addresses:
        return ()
    reason = "RFC 5321 section 4.1.4"
    if includes_address(facts.addresses, ours):
        return (
            Advice(
                "name_matches_address", AdviceStatus.OK, f"{facts.name} resolves to {ours}", reason
            ),
        )
    detail = f"{facts.name} resolves to {_join(addresses)}, but {_describe_view(facts)} {ours}"
    return (Advice("name_matches_address", AdviceStatus.WARN, detail, reason),)


def _check_outgoing_address(facts: NameFacts) -> Advice:
    if facts.is_server_reported:
        detail = f"the server sees us from {facts.outgoing_address}"
        return Advice("outgoing_address", AdviceStatus.OK, detail, RFC_5321_EHLO)
    if facts.outgoing_address is not None and is_public(_parse_address(facts.outgoing_address)):
        detail = f"we connect from {facts.outgoing_address}"
        return Advice("outgoing_address", AdviceStatus.OK, detail, RFC_5321_EHLO)
    detail = (
        f"we connect from {facts.outgoing_address or 'no known address'}, which is not public, and"
        " the server does not say which address it sees: behind NAT it is another one"
    )
    return Advice("outgoing_address", AdviceStatus.WARN, detail, RFC_5321_EHLO)


def _check_pointer(facts: NameFacts) -> Sequence[Advice]:
    ours, lookup = facts.outgoing_address, facts.pointers
    if ours is None:
        return ()
    if lookup.error:
        return (Advice("pointer_exists", AdviceStatus.WARN, lookup.error, RFC_1912_PTR),)
    severity = AdviceStatus.FAIL if is_public(_parse_address(ours)) else AdviceStatus.WARN
    if not lookup.values:
        detail = (
            f"{ours} has no PTR record; ask the owner of the address (usually your hosting"
            " provider) to add one"
        )
        return (Advice("pointer_exists", severity, detail, f"{RFC_1912_PTR}; {GOOGLE}"),)
    names = _join(lookup.values)
    exists = Advice(
        "pointer_exists", AdviceStatus.OK, f"the PTR record of {ours} names {names}", RFC_1912_PTR
    )
    return exists, _check_agreement(facts, ours, severity)


def _check_agreement(facts: NameFacts, ours: str, severity: AdviceStatus) -> Advice:
    """Check forward-confirmed reverse DNS: the PTR name resolves to the address."""
    confirmed = [
        name for name, lookup in facts.pointer_addresses.items() if includes_address(lookup, ours)
    ]
    reason = f"{RFC_1912_PTR}; {GOOGLE}"
    if not confirmed:
        detail = (
            f"{_join(facts.pointers.values)} does not resolve to {ours}; make the PTR record and"
            " the address record agree"
        )
        return Advice("pointer_agrees", severity, detail, reason)
    if facts.name in confirmed:
        detail = f"PTR and address records of {ours} and {facts.name} agree"
        return Advice("pointer_agrees", AdviceStatus.OK, detail, reason)
    if facts.name.startswith("["):
        detail = f"PTR and address records of {ours} and {confirmed[0]} agree: use that name"
        return Advice("pointer_agrees", AdviceStatus.OK, detail, reason)
    detail = (
        f"PTR and address records of {ours} and {confirmed[0]} agree, but ehlo_name is {facts.name}"
    )
    return Advice("pointer_agrees", AdviceStatus.WARN, detail, reason)


def includes_address(lookup: Lookup, address: str) -> bool:
    """Whether a lookup returned the address."""
    return _normalize(address) in {_normalize(value) for value in lookup.values}


def _describe_view(facts: NameFacts) -> str:
    return "the server sees us from" if facts.is_server_reported else "we connect from"


def _parse_address(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(address.partition("%")[0])


def _normalize(address: str) -> str:
    """Normalize an address, and unwrap an IPv4-mapped IPv6 address."""
    return str(unmap_ipv4(_parse_address(address)))


def _join(items: Sequence[str]) -> str:
    return ", ".join(items[:4]) + (", …" if len(items) > 4 else "")  # noqa: PLR2004 - enough
