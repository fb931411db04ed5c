"""Addresses as people write them, and who may send as whom."""

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.addresses import check_pattern, is_allowed, make_mailbox, parse_mailbox
from app.domain.types import Mailbox

ADDRESS: Final = "ann@example.org"

TAKEN: Final = [
    ("ann@example.org", "", ADDRESS),
    ("  ann@example.org ", "", ADDRESS),
    ("Ann@EXAMPLE.org", "", "Ann@example.org"),
    ("ann+tag@example.org", "", "ann+tag@example.org"),
    ("a.b-c_d'e@example.org", "", "a.b-c_d'e@example.org"),
    ("<ann@example.org>", "", ADDRESS),
    ("Ann <ann@example.org>", "Ann", ADDRESS),
    ("Ann<ann@example.org>", "Ann", ADDRESS),
    ("  Ann   <  ann@example.org  >", "Ann", ADDRESS),
    ('"Ann" <ann@example.org>', "Ann", ADDRESS),
    ('"Doe, Ann" <ann@example.org>', "Doe, Ann", ADDRESS),
    ("Doe, Ann <ann@example.org>", "Doe, Ann", ADDRESS),
    (r'"Ann \"the\" \\ Doe" <ann@example.org>', r'Ann "the" \ Doe', ADDRESS),
    ('"ann@example.org" <ann@example.org>', ADDRESS, ADDRESS),
    ('"<" <ann@example.org>', "<", ADDRESS),
    ('Ann "the" Doe <ann@example.org>', 'Ann "the" Doe', ADDRESS),
    ("O'Hara (Sales) <ann@example.org>", "O'Hara (Sales)", ADDRESS),
    ("Änne Müller <ann@example.org>", "Änne Müller", ADDRESS),
    ("アン <ann@example.org>", "アン", ADDRESS),
    ("🦉 <ann@example.org>", "🦉", ADDRESS),
    ("عنّ <ann@example.org>", "عنّ", ADDRESS),
    ("ann@bücher.example", "", "ann@xn--bcher-kva.example"),
    ("ann@例え.テスト", "", "ann@xn--r8jz45g.xn--zckzah"),
    ("ann@relay.test", "", "ann@relay.test"),
    ("ann@host.local", "", "ann@host.local"),
    ("ann@localhost", "", "ann@localhost"),
]


@pytest.mark.parametrize(("text", "name", "address"), TAKEN)
def test_an_address_may_have_a_name_in_any_script(text: str, name: str, address: str) -> None:
    """The domain becomes its A-label; servers that the internet does not know are servers too."""
    assert parse_mailbox(text) == Mailbox(address, name)


ONE_EACH: Final = "an item of its own"
REFUSED: Final = [
    ("", "no @"),
    ("ann", "no @"),
    ("Ann <>", "no @"),
    ("@example.org", "before the @"),
    ("ann@", "after the @"),
    ("ann@@example.org", "@"),
    ("ann@example..org", "period"),
    ("ann@-example.org", "hyphen"),
    (".ann@example.org", "period"),
    ("ann doe@example.org", "a@b.example"),
    ("ann@exa mple.org", "a@b.example"),
    ("ann@exam_ple.org", "a@b.example"),
    ("ann@[192.0.2.1]", "a@b.example"),
    ('"ann doe"@example.org', "a@b.example"),
    ("änne@example.org", "a@b.example"),
    ("ann@example.org\r\nBcc: eve@example.org", "line break"),
    ("Ann\r\nBcc: eve@example.org <ann@example.org>", "line break"),
    ("Ann\0 <ann@example.org>", "control character"),
    ("Ann\N{LINE SEPARATOR} <ann@example.org>", "control character"),
    ("Ann\ud800 <ann@example.org>", "control character"),
    ("ann@example.org>", "without a <"),
    ("ann@example.org, bob@example.org", ONE_EACH),
    ("ann@example.org; bob@example.org", ONE_EACH),
    ("Ann <ann@example.org>, Bob <bob@example.org>", ONE_EACH),
    ("ann@example.org, Bob <bob@example.org>", ONE_EACH),
    ("Friends: ann@example.org;", ONE_EACH),
    ('"Ann" Doe <ann@example.org>', "around the whole name"),
    ('"Ann <ann@example.org>', "around the whole name"),
    (f"{'a' * 65}@example.org", "a@b.example"),
    (f"ann@{'a' * 64}.org", "a@b.example"),
    (f"ann@{'a.' * 126}org", "a@b.example"),
    (f"{'n' * 501} <ann@example.org>", "501 characters, at most 500"),
    (f"{'n' * 3000} <ann@example.org>", "too long"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_what_is_no_address_is_refused_with_what_to_write_instead(text: str, reason: str) -> None:
    """Two addresses in one item too, and whatever could not stand in a header."""
    with pytest.raises(ValueError, match=re.escape(reason)) as refused:
        parse_mailbox(text)
    assert re.search(r"a@b|a@b.example|leave|may be|item", str(refused.value))


@pytest.mark.parametrize("email", ["ann", "Ann <ann@example.org>", "ann@example.org\n", ""])
def test_an_address_in_two_parts_holds_the_address_alone(email: str) -> None:
    """`email` is no place for a name."""
    with pytest.raises(ValueError, match="a@b"):
        make_mailbox(email, "Ann")


def test_a_name_beside_its_address_needs_no_quotes() -> None:
    """It is taken as it is."""
    assert make_mailbox(ADDRESS, ' "Doe", <Ann> ') == Mailbox(ADDRESS, '"Doe", <Ann>')


@pytest.mark.parametrize("name", ["Ann\r\nBcc: eve@example.org", "Ann\x7f", "Ann\x85"])
def test_a_name_cannot_end_its_line(name: str) -> None:
    """Header injection is impossible from the first step on."""
    with pytest.raises(ValueError, match="line break"):
        make_mailbox(ADDRESS, name)


@given(st.text(max_size=60))
def test_a_quoted_name_is_read_back_whatever_it_holds(name: str) -> None:
    """Quotes and backslashes are escaped, all else is as it is."""
    try:
        wanted = make_mailbox(ADDRESS, name)
    except ValueError:
        return
    quoted = wanted.name.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_mailbox(f'"{quoted}" <{ADDRESS}>') == wanted


@given(st.one_of(st.text(max_size=80), st.text('a@.<>",; \r\n\\é', max_size=30)))
def test_whatever_is_taken_fits_on_the_wire(text: str) -> None:
    """ASCII, no spaces, no brackets, 254 octets at most; and taken again as it is."""
    try:
        mailbox = parse_mailbox(text)
    except ValueError:
        return
    assert re.fullmatch(r"[!-;=?-~]+@[a-z0-9.-]+", mailbox.address)
    assert len(mailbox.address) <= 254
    assert parse_mailbox(mailbox.address).address == mailbox.address


PATTERNS: Final = [
    ("ann@example.com", "ann@example.com"),
    ("Ann@Example.COM", "ann@example.com"),
    ("*@example.com", "*@example.com"),
    ("*@*.example.com", "*@*.example.com"),
    ("ann@*.example.com", "ann@*.example.com"),
    (" *@bücher.example ", "*@xn--bcher-kva.example"),
]


@pytest.mark.parametrize(("text", "pattern"), PATTERNS)
def test_a_pattern_has_stars_for_whole_parts(text: str, pattern: str) -> None:
    """It is kept as it is matched: lower case, the domain as its A-label."""
    assert check_pattern(text) == pattern
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "@",
        "example.com",
        "*@",
        "@example.com",
        "*@*",
        "*@*.",
        "a*@example.com",
        "*@ex*mple.com",
        "*@*.*.example.com",
        "*@mail.*.example.com",
        "*@*example.com",
        "**@example.com",
        "*@exam_ple.com",
        "*@example.com, *@example.org",
        "*@example.com\n*@example.org",
    ],
)
def test_a_pattern_that_could_mean_anything_is_refused(text: str) -> None:
    """And the three forms are named."""
    with pytest.raises(ValueError, match=re.escape("write user@example.com, *@example.com or")):
        check_pattern(text)


SENDERS: Final = [
    ("ann@example.com", ["ann@example.com"], True),
    ("Ann@Example.com", ["ann@example.com"], True),
    ("bob@example.com", ["ann@example.com"], False),
    ("bob@example.com", ["*@example.com"], True),
    ("bob@mail.example.com", ["*@example.com"], False),
    ("bob@notexample.com", ["*@example.com"], False),
    ("bob@example.com.evil.example", ["*@example.com"], False),
    ("bob@mail.example.com", ["*@*.example.com"], True),
    ("bob@a.b.example.com", ["*@*.example.com"], True),
    ("bob@example.com", ["*@*.example.com"], False),
    ("bob@notexample.com", ["*@*.example.com"], False),
    ("ann@mail.example.com", ["ann@*.example.com"], True),
    ("bob@mail.example.com", ["ann@*.example.com"], False),
    ("bob@example.org", ["*@example.com", "bob@example.org"], True),
    ("anybody@anywhere.example", [], True),
]


@pytest.mark.parametrize(("address", "patterns", "allowed"), SENDERS)
def test_a_sender_is_allowed_by_any_pattern(
    address: str, patterns: list[str], *, allowed: bool
) -> None:
    """Whatever the letter case; without a pattern anybody is."""
    assert is_allowed(Mailbox(address), patterns) is allowed
