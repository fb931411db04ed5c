"""Which destination a recipient's domain belongs to."""

from collections.abc import Sequence

import pytest

from app.domain.delivery.destinations import UNRESOLVED, match_destination
from app.domain.types import Destination

HOSTS: dict[str, Sequence[str] | None] = {
    "example.org": ("aspmx.l.google.com", "alt1.aspmx.l.google.com"),
    "example.net": ("mx.example.net",),
    "null.example": (),
    "broken.example": UNRESOLVED,
}


def number_of(domain: str, *matches: Sequence[str]) -> int | None:
    """The destination of a domain, with one destination for each list of patterns."""
    destinations = [
        Destination(number=number, match=tuple(match)) for number, match in enumerate(matches, 1)
    ]
    return match_destination(domain, destinations, HOSTS.get)


@pytest.mark.parametrize(
    ("pattern", "domain", "is_match"),
    [
        ("gmail.com", "gmail.com", True),
        ("gmail.com", "mail.gmail.com", False),
        ("*.outlook.com", "eur.outlook.com", True),
        ("*.outlook.com", "outlook.com", False),
        ("*.outlook.com", "notoutlook.com", False),
        ("*", "example.com", True),
        ("mx:*.google.com", "example.org", True),
        ("mx:*.google.com", "example.net", False),
        ("mx:*.google.com", "null.example", False),
        ("mx:mx.example.net", "example.net", True),
    ],
)
def test_a_pattern_matches_a_domain_or_its_mx_hosts(
    pattern: str, domain: str, *, is_match: bool
) -> None:
    """A star stands for one or more labels at the front."""
    assert number_of(domain, [pattern]) == int(is_match)


def test_the_first_destination_that_matches_counts() -> None:
    """Also if a later one names the domain itself."""
    assert number_of("eur.outlook.com", ["gmail.com"], ["*.outlook.com"], ["*"]) == 2


def test_a_domain_whose_hosts_are_unknown_waits_for_them() -> None:
    """Unless a name matches before a host is needed."""
    assert number_of("new.example", ["mx:*.google.com"], ["new.example"]) is None
    assert number_of("new.example", ["new.example"], ["mx:*.google.com"]) == 1
    assert number_of("new.example", ["mx:*.google.com", "new.example"]) == 1


def test_a_domain_that_does_not_resolve_matches_every_host() -> None:
    """Its mail keeps a limit that may not be its own, rather than none (invariant 7)."""
    assert number_of("broken.example", ["gmail.com"], ["mx:*.google.com"]) == 2
