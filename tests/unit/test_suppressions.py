"""Which addresses a suppression covers."""

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.suppressions import MAX_PATTERN_LABELS, build_key, list_keys, parse_suppressed

NORMAL: Final = {
    " Ann@Example.COM ": "ann@example.com",
    "*@Example.COM": "*@example.com",
    "*.Example.COM": "*.example.com",
    "*.com": "*.com",
    "*@localhost": "*@localhost",
    "*@bücher.example": "*@xn--bcher-kva.example",
    "*.BÜCHER.example": "*.xn--bcher-kva.example",
    "*.例え.テスト": "*.xn--r8jz45g.xn--zckzah",
    '"*"@example.com': '"*"@example.com',
    '"Foo*"@example.com': '"foo*"@example.com',
    '"a *"@example.com': '"a *"@example.com',
    f"*.{'a.' * (MAX_PATTERN_LABELS - 1)}a": f"*.{'a.' * (MAX_PATTERN_LABELS - 1)}a",
}


@pytest.mark.parametrize("text", NORMAL)
def test_addresses_and_patterns_are_normalized(text: str) -> None:
    """Case, blanks around them and other scripts do not matter; the result stays as it is."""
    assert parse_suppressed(text) == NORMAL[text]
    assert parse_suppressed(NORMAL[text]) == NORMAL[text]


FORMS: Final = "*@example.com for all of a domain, or *.example.com for its subdomains"
REFUSED: Final = {
    "*": FORMS,
    "*@*": FORMS,
    "*@": FORMS,
    "*.": FORMS,
    "*.*": FORMS,
    "*.*.com": FORMS,
    "*@*.example.com": FORMS,
    "ann@*.example.com": FORMS,
    "ann@*": FORMS,
    "a*.example.com": FORMS,
    "**.example.com": FORMS,
    "*example.com": FORMS,
    "**@example.com": FORMS,
    "example.com": FORMS,
    "@example.com": FORMS,
    "": FORMS,
    "*@-.example": FORMS,
    "*.example..com": FORMS,
    "foo*@example.com": 'write *@example.com for all of the domain, or "foo*"@example.com',
    "*.foo@example.com": 'write *@example.com for all of the domain, or "*.foo"@example.com',
    f"*.{'a.' * MAX_PATTERN_LABELS}a": "more than 8 labels",
    "Ann <ann@example.com>": "write",
}


@pytest.mark.parametrize("text", REFUSED)
def test_an_error_says_what_to_write(text: str) -> None:
    """In the words of the caller's own text, where they can be meant in two ways."""
    with pytest.raises(ValueError, match=re.escape(REFUSED[text])):
        parse_suppressed(text)


def test_an_address_is_covered_by_its_domain_and_the_domains_above() -> None:
    """A pattern of subdomains does not cover the domain itself."""
    assert list_keys("User@A.b.Example.com") == (
        "user@a.b.example.com",
        "*@a.b.example.com",
        "*.b.example.com",
        "*.example.com",
        "*.com",
    )
    assert list_keys("ann@example.com") == ("ann@example.com", "*@example.com", "*.com")
    assert list_keys("ann@localhost") == ("ann@localhost", "*@localhost")
    assert list_keys("ann@bücher.example")[1] == "*@xn--bcher-kva.example"


def test_a_mailbox_with_a_star_is_no_pattern() -> None:
    """So nothing that happens to one mailbox suppresses its domain."""
    assert build_key("*@example.com") == '"*"@example.com'
    assert list_keys("*@example.com")[:2] == ('"*"@example.com', "*@example.com")
    assert list_keys("Foo*@example.com")[0] == '"foo*"@example.com'


def test_a_deep_domain_has_few_keys() -> None:
    """A lookup costs the same, however many labels a domain has."""
    keys = list_keys(f"ann@{'a.' * 120}com")
    assert len(keys) == 2 + MAX_PATTERN_LABELS
    assert keys[-1] == "*.com"


LABELS = st.lists(st.sampled_from(["a", "example", "com", "xn--bcher-kva"]), min_size=1, max_size=8)


@given(LABELS, LABELS)
def test_a_pattern_covers_all_that_end_with_it(above: list[str], below: list[str]) -> None:
    """And neither the domain itself nor a domain that only looks like it."""
    domain, subdomain = ".".join(above), ".".join([*below, *above])
    pattern = parse_suppressed(f"*.{domain}")
    assert pattern in list_keys(f"ann@{subdomain}")
    assert parse_suppressed(f"*@{subdomain}") in list_keys(f"ann@{subdomain}")
    assert pattern not in list_keys(f"ann@x{domain}")
    assert pattern not in list_keys(f"ann@{domain}")
