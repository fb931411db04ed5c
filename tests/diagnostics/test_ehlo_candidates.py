"""Which names are candidates, in which order, and what servers say of our address."""

import pytest

from app.diagnostics.ehlo_candidates import (
    MAX_CANDIDATES,
    MAX_NAMES,
    NameSource,
    list_candidates,
    list_sender_domains,
    parse_seen_address,
)
from app.diagnostics.ehlo_trials import MAX_CLOSINGS
from app.domain.ehlo import NO_OTHER_NAMES, EhloNames, OtherNames
from app.domain.types import NamedAddress
from tests.support.rows import a_profile, a_tenant

NAMED = {
    "profile": "profile.example.com",
    "tenant": "tenant.example.com",
    "service": "service.example.com",
    "hostname": "host.example.com",
}


def candidates_of(
    pointers: list[str],
    address: str | None,
    others: OtherNames = NO_OTHER_NAMES,
    **names: str | None,
) -> list[tuple[str, str]]:
    """The candidates' names and sources."""
    candidates = list_candidates(
        EhloNames(**names), others=others, pointers=pointers, outgoing_address=address
    )
    return [(candidate.name, candidate.source.value) for candidate in candidates]


OTHERS = OtherNames(
    sender_domains=("example.com",),
    signing_domains=("signed.example.com",),
    other_profiles=("other.example.com",),
)


def test_the_domains_of_senders_come_first() -> None:
    """Then the tenant's other names, and the address itself last."""
    assert candidates_of(["ptr.example.com"], "192.0.2.1", OTHERS, **NAMED) == [
        ("example.com", "sender_domain"),
        ("profile.example.com", "profile"),
        ("tenant.example.com", "tenant"),
        ("signed.example.com", "signing_domain"),
        ("other.example.com", "other_profile"),
        ("service.example.com", "service"),
        ("ptr.example.com", "pointer"),
        ("host.example.com", "hostname"),
        ("[192.0.2.1]", "address_literal"),
    ]


def test_each_is_there_once() -> None:
    """By the first of its sources, whatever the letter case."""
    names = NAMED | {"tenant": "PROFILE.example.com"}
    assert [source for _, source in candidates_of(["service.example.com"], None, **names)] == [
        "profile",
        "service",
        "hostname",
        "address_literal",
    ]


def test_a_profile_with_many_domains_still_tries_the_other_names() -> None:
    """Twelve at most, and only a few of each source."""
    nine = [f"{number}.example.net" for number in range(27)]
    others = OtherNames(
        sender_domains=tuple(nine[:9]),
        signing_domains=tuple(nine[9:18]),
        other_profiles=tuple(nine[18:]),
    )
    pointers = [f"ptr{number}.example.com" for number in range(9)]
    candidates = candidates_of(pointers, "192.0.2.1", others, **NAMED)
    assert len(candidates) == MAX_CANDIDATES
    assert [source for _, source in candidates] == [
        *["sender_domain"] * 2,
        "profile",
        "tenant",
        *["signing_domain"] * 2,
        *["other_profile"] * 2,
        "service",
        *["pointer"] * 2,
        "address_literal",
    ]


def test_a_server_that_closes_hears_more_than_the_domains_of_senders() -> None:
    """The trials stop after a few closed connections."""
    assert MAX_NAMES[NameSource.SENDER_DOMAIN] < MAX_CLOSINGS


def test_what_is_no_name_takes_no_place() -> None:
    """The next domain is tried in its place; an internationalized one as its A-label."""
    domains = ("localhost", "under_score.example.com", "1.2.3.4", "müller.example", "example.com")
    assert candidates_of([], "192.0.2.1", OtherNames(sender_domains=domains)) == [
        ("xn--mller-kva.example", "sender_domain"),
        ("example.com", "sender_domain"),
        ("[192.0.2.1]", "address_literal"),
    ]


def test_senders_give_their_domains() -> None:
    """Patterns too; an address literal is a server's address, and not a name."""
    profile = a_profile(
        a_tenant(),
        default_from=NamedAddress("billing@example.com"),
        allowed_from=("*@example.org", "*@*.example.net", "ann@[192.0.2.9]"),
    )
    assert list_sender_domains(profile) == ("example.com", "example.org", "example.net")
    assert list_sender_domains(a_profile(a_tenant(), default_from=None)) == ()


@pytest.mark.parametrize(
    "hostname",
    [
        "localhost",
        "localhost.localdomain",
        "3f2a9c1b7d4e",
        "heloise-7c9f.ns.svc.cluster.local",
        "ip-10-0-0-1.ec2.internal",
        "under_score.example.com",
        "",
    ],
)
def test_what_strict_servers_refuse_or_what_would_leak_is_none(hostname: str) -> None:
    """Neither the container's id nor a name that means something inside alone."""
    assert candidates_of([], "192.0.2.1", hostname=hostname) == [("[192.0.2.1]", "address_literal")]


def test_an_ipv6_address_has_its_tag() -> None:
    """RFC 5321 section 4.1.3."""
    assert candidates_of([], "2001:db8::1") == [("[IPv6:2001:db8::1]", "address_literal")]
    assert candidates_of(["ptr.example.com"], None) == [
        ("ptr.example.com", NameSource.POINTER.value),
        ("[127.0.0.1]", NameSource.ADDRESS_LITERAL.value),
    ]


@pytest.mark.parametrize(
    ("greeting", "address"),
    [
        ("mx.google.com at your service, [192.0.2.1]\nSIZE 157286400", "192.0.2.1"),
        ("mx.google.com at your service, [2001:db8::1]", "2001:db8::1"),
        ("exim.example.org Hello mail.example.com [192.0.2.7]", "192.0.2.7"),
        ("AM0P190.outlook.office365.com Hello [192.0.2.9]", "192.0.2.9"),
        ("mx.example.org Hello [198.51.100.1] [192.0.2.7], pleased to meet you", "192.0.2.7"),
        ("mx.example.org Hello [IPv6:2001:db8::5]", "2001:db8::5"),
        ("postfix.example.org\nPIPELINING\nSIZE 10240000", None),
        ("mx.example.org greets mail.example.com\nSIZE [192.0.2.1]", None),
        ("at 12:30:00 version 4.97.1.2.3", None),
        ("", None),
    ],
)
def test_the_address_that_a_server_sees_is_read_from_its_greeting(
    greeting: str, address: str | None
) -> None:
    """From the first line alone, the last address in it: the name we gave may be one too."""
    assert parse_seen_address(greeting) == address
