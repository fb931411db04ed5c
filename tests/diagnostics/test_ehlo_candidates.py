"""Which names are candidates, in which order, and what servers say of our address."""

import pytest

from app.diagnostics.ehlo_candidates import (
    MAX_CANDIDATES,
    NameSource,
    list_candidates,
    parse_seen_address,
)
from app.domain.ehlo import EhloNames

NAMED = {
    "profile": "profile.example.com",
    "tenant": "tenant.example.com",
    "service": "service.example.com",
    "hostname": "host.example.com",
}


def found(pointers: list[str], address: str | None, **names: str | None) -> list[tuple[str, str]]:
    """The candidates' names and sources."""
    listed = list_candidates(EhloNames(**names), pointers=pointers, outgoing_address=address)
    return [(candidate.name, candidate.source.value) for candidate in listed]


def test_they_come_in_the_order_of_the_ladder() -> None:
    """With what the DNS calls our address before the address itself."""
    assert found(["ptr.example.com"], "192.0.2.1", **NAMED) == [
        ("profile.example.com", "profile"),
        ("tenant.example.com", "tenant"),
        ("service.example.com", "service"),
        ("host.example.com", "hostname"),
        ("ptr.example.com", "pointer"),
        ("[192.0.2.1]", "address_literal"),
    ]


def test_each_is_there_once() -> None:
    """By the first of its sources, whatever the letter case."""
    names = NAMED | {"tenant": "PROFILE.example.com"}
    assert [source for _, source in found(["host.example.com"], None, **names)] == [
        "profile",
        "service",
        "hostname",
        "address_literal",
    ]


def test_there_are_six_at_the_most() -> None:
    """The address literal among them, however many names an address has."""
    listed = found([f"ptr{number}.example.com" for number in range(9)], "192.0.2.1", **NAMED)
    assert len(listed) == MAX_CANDIDATES
    assert listed[-1] == ("[192.0.2.1]", "address_literal")


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
    assert found([], "192.0.2.1", hostname=hostname) == [("[192.0.2.1]", "address_literal")]


def test_an_ipv6_address_has_its_tag() -> None:
    """RFC 5321 section 4.1.3."""
    assert found([], "2001:db8::1") == [("[IPv6:2001:db8::1]", "address_literal")]
    assert found(["ptr.example.com"], None) == [
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
