"""Addresses as people write them, and who may send as whom."""

import re
import unicodedata
from typing import Final

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st

from app.domain.address.parse import (
    canonical_address,
    is_allowed,
    make_named_address,
    needs_smtputf8,
    parse_named_address,
    parse_pattern,
)
from app.domain.types import NamedAddress

ADDRESS: Final = "ann@example.org"

TAKEN: Final = [
    ("ann@example.org", "", ADDRESS),
    ("  ann@example.org ", "", ADDRESS),
    ("Ann@EXAMPLE.org", "", "Ann@example.org"),
    ("Postmaster@example.org", "", "postmaster@example.org"),
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
    ("änne@example.org", "", "änne@example.org"),
    ("a\u0308nne@example.org", "", "änne@example.org"),
    ("Änne <Änne@Bücher.example>", "Änne", "Änne@xn--bcher-kva.example"),
    ("用户@例え.テスト", "", "用户@xn--r8jz45g.xn--zckzah"),
    ("квіточка+tag@пошта.укр", "", "квіточка+tag@xn--80a1acn3a.xn--j1amh"),
    ("\u212ann@example.org", "", "Knn@example.org"),
    ("ann@relay.test", "", "ann@relay.test"),
    ("ann@host.local", "", "ann@host.local"),
    ("ann@localhost", "", "ann@localhost"),
    ('"abc."@docomo.example', "", '"abc."@docomo.example'),
    ('"a..b"@example.org', "", '"a..b"@example.org'),
    ('".a"@example.org', "", '".a"@example.org'),
    ('"a b"@example.org', "", '"a b"@example.org'),
    (r'"a,\"b;\\"@example.org', "", r'"a,\"b;\\"@example.org'),
    ('Ann <"abc."@docomo.example>', "Ann", '"abc."@docomo.example'),
    ('"Doe, A." <"a."@docomo.example>', "Doe, A.", '"a."@docomo.example'),
    (r'"a\n\n"@example.org', "", ADDRESS),  # quotes that nothing needs
]


@pytest.mark.parametrize(("text", "name", "address"), TAKEN)
def test_an_address_may_have_a_name_in_any_script(text: str, name: str, address: str) -> None:
    """The domain becomes its A-label; servers that the internet does not know are servers too."""
    assert parse_named_address(text) == NamedAddress(address, name)


ONE_EACH: Final = "its own item"
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
    ("a\u00a0b@example.org", "unsafe"),
    ("a\u200db@example.org", "unsafe"),
    ("a\u202eb@example.org", "control character"),
    ("a\ue000b@example.org", "unsafe"),
    ("Ann <\u0338ann@example.org>", "unsafe"),
    ("a\u037eb@example.org", "Unicode normalization"),
    ("änne@example..org", "period"),
    ("ann＠example.org", "no @"),
    ("ä" * 65 + "@example.org", "a@b.example"),
    ("漢" * 64 + "@" + "a" * 60 + ".example", "a@b.example"),
    ("ann@example.org\r\nBcc: eve@example.org", "line break"),
    ("Ann\r\nBcc: eve@example.org <ann@example.org>", "line break"),
    ("Ann\0 <ann@example.org>", "control character"),
    ("Ann\N{LINE SEPARATOR} <ann@example.org>", "control character"),
    ("Ann\ud800 <ann@example.org>", "control character"),
    ("ann@example.org>", "without a <"),
    ("abc.@docomo.example", 'quote the local part: "abc."@docomo.example'),
    ("a..b@bücher.example", 'quote the local part: "a..b"@xn--bcher-kva.example'),
    ("Ann <.a@example.org>", 'quote the local part: ".a"@example.org'),
    ('"ann@example.org"@example.net', "contains < > or @"),
    ('"ann> NOTIFY=NEVER"@example.org', "contains < > or @"),
    ('"a\tb"@example.org', "control character"),
    ('""@example.org', "before the @-sign"),
    ('"a"b"@example.org', "@-sign"),
    ('"a."@example.org, bob@example.org', ONE_EACH),
    ("ann@example.org, bob@example.org", ONE_EACH),
    ("ann@example.org; bob@example.org", ONE_EACH),
    ("Ann <ann@example.org>, Bob <bob@example.org>", ONE_EACH),
    ("ann@example.org, Bob <bob@example.org>", ONE_EACH),
    ("Friends: ann@example.org;", ONE_EACH),
    ('"Ann" Doe <ann@example.org>', "enclose the whole name"),
    ('"Ann <ann@example.org>', "enclose the whole name"),
    (f"{'a' * 65}@example.org", "a@b.example"),
    (f"ann@{'a' * 64}.org", "a@b.example"),
    (f"ann@{'a.' * 126}org", "a@b.example"),
    (f"{'n' * 501} <ann@example.org>", "501 characters; write at most 500"),
    (f"{'n' * 3000} <ann@example.org>", "too long"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_what_is_no_address_is_refused_with_what_to_write_instead(text: str, reason: str) -> None:
    """Two addresses in one item too, and whatever could not stand in a header."""
    with pytest.raises(ValueError, match=re.escape(reason)) as excinfo:
        parse_named_address(text)
    assert re.search(r"a@b|a@b.example|leave|may be|item|quote|write at most", str(excinfo.value))


@pytest.mark.parametrize("email", ["ann", "Ann <ann@example.org>", "ann@example.org\n", ""])
def test_an_address_in_two_parts_holds_the_address_alone(email: str) -> None:
    """`email` is no place for a name."""
    with pytest.raises(ValueError, match="a@b"):
        make_named_address(email, "Ann")


def test_a_name_before_its_address_needs_no_quotes() -> None:
    """It is taken as it is."""
    assert make_named_address(ADDRESS, ' "Doe", <Ann> ') == NamedAddress(ADDRESS, '"Doe", <Ann>')


@pytest.mark.parametrize("name", ["Ann\r\nBcc: eve@example.org", "Ann\x7f", "Ann\x85"])
def test_a_name_cannot_end_its_line(name: str) -> None:
    """Header injection is impossible from the first step on."""
    with pytest.raises(ValueError, match="line break"):
        make_named_address(ADDRESS, name)


@given(st.text(max_size=60))
def test_a_quoted_name_is_read_back_whatever_it_holds(name: str) -> None:
    """Quotes and backslashes are escaped, all else is as it is."""
    try:
        expected = make_named_address(ADDRESS, name)
    except ValueError:
        return
    quoted = expected.name.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_named_address(f'"{quoted}" <{ADDRESS}>') == expected


@given(st.one_of(st.text(max_size=80), st.text('a@.<>",; \r\n\\é', max_size=30)))
def test_whatever_is_taken_fits_on_the_wire(text: str) -> None:
    """No spaces but in quotes, no brackets, 254 octets at most; and taken again as it is."""
    try:
        named_address = parse_named_address(text)
    except ValueError:
        return
    local, _, domain = named_address.address.rpartition("@")
    assert re.fullmatch(r"[a-z0-9.-]+", domain)
    assert re.fullmatch(r'"[ !-;=?A-~\u00a1-\U0010ffff]+"|[!-;=?A-~\u00a1-\U0010ffff]+', local)
    assert unicodedata.is_normalized("NFC", named_address.address)
    assert len(named_address.address.encode()) <= 254
    assert parse_named_address(named_address.address).address == named_address.address


def by_the_validator(address: str) -> str | None:
    """The address as `email_validator` has it; None where it is none."""
    try:
        checked = validate_email(
            address,
            check_deliverability=False,
            allow_quoted_local=True,
            allow_domain_literal=False,
            globally_deliverable=False,
            strict=True,
        )
    except EmailNotValidError:
        return None
    return f"{checked.local_part}@{checked.ascii_domain}"


ATOMS: Final = st.text("az09AZ!#$%&'*+/=?^_`{|}~-.", min_size=1, max_size=12)
LABELS: Final = st.text("azAZ09-_", min_size=1, max_size=6) | st.sampled_from(
    ["xn--bcher-kva", "xn--a", "ab--c", "a--b", "x" * 63, "x" * 64, "123", "info", "bücher"]
)
LOCAL_PARTS: Final = (
    ATOMS
    | st.sampled_from(["info", "Info", "POSTMASTER", "x" * 64, "x" * 65, "änne", "a.b.c", "a..b"])
    | st.lists(ATOMS, min_size=2, max_size=3).map(".".join)
)
ADDRESSES: Final = st.builds(
    "{}@{}".format, LOCAL_PARTS, st.lists(LABELS, min_size=1, max_size=5).map(".".join)
)


@given(ADDRESSES | st.text("a@.-_A0xn+é\n", max_size=20))
def test_what_is_known_at_a_glance_is_what_the_validator_says(address: str) -> None:
    """The short way for plain addresses and the long one answer alike, also the second time."""
    expected = by_the_validator(address)
    for _ in range(2):
        try:
            assert make_named_address(address).address == expected
        except ValueError:
            assert expected is None


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (ADDRESS, ADDRESS),
        (" Ann@Bücher.example", "Ann@xn--bcher-kva.example"),
        ("a\u0308nne@example.org", "änne@example.org"),
        ("nobody", "nobody"),
        ("", ""),
    ],
)
def test_an_address_is_looked_for_as_it_is_kept(text: str, known: str) -> None:
    """However it is written; what is no address finds nothing, and that is no error."""
    assert canonical_address(text) == known


PLAIN: Final = b"To: ann@example.org\r\n\r\n"


@pytest.mark.parametrize(
    ("envelope_from", "recipients", "mime", "needed"),
    [
        ("ann@example.org", ["bob@example.org"], PLAIN, False),
        ("ann@example.org", [], PLAIN, False),
        ("änne@example.org", ["bob@example.org"], PLAIN, True),
        ("ann@example.org", ["bob@example.org", "änne@example.org"], PLAIN, True),
        ("ann@example.org", ["bob@example.org"], "To: änne@example.org\r\n\r\n".encode(), True),
        ("ann@example.org", ["bob@example.org"], PLAIN + "ä".encode(), False),
        ("ann@example.org", ["bob@example.org"], PLAIN + "x\r\n\r\nä".encode(), False),
        ("ann@example.org", ["bob@example.org"], b"", False),
    ],
)
def test_smtputf8_is_needed_for_addresses_that_are_not_ascii(
    envelope_from: str, recipients: list[str], mime: bytes, *, needed: bool
) -> None:
    """In the envelope or in the header; what is in the body needs another extension."""
    assert needs_smtputf8(envelope_from, recipients, mime) is needed


PATTERNS: Final = [
    ("ann@example.com", "ann@example.com"),
    ("Ann@Example.COM", "ann@example.com"),
    ("*@example.com", "*@example.com"),
    ("*@*.example.com", "*@*.example.com"),
    ("ann@*.example.com", "ann@*.example.com"),
    (" *@bücher.example ", "*@xn--bcher-kva.example"),
    ("A\u0308nne@example.com", "änne@example.com"),
    ("Änne@*.Bücher.example", "änne@*.xn--bcher-kva.example"),
]


@pytest.mark.parametrize(("text", "pattern"), PATTERNS)
def test_a_pattern_has_stars_for_whole_parts(text: str, pattern: str) -> None:
    """It is kept as it is matched: lower case, the domain as its A-label."""
    assert parse_pattern(text) == pattern
    assert parse_pattern(pattern) == pattern


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
        parse_pattern(text)


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
    ("Änne@example.com", ["änne@example.com"], True),
    ("anne@example.com", ["änne@example.com"], False),
    ("änne@example.com", ["*@example.com"], True),
    ("anybody@anywhere.example", [], True),
]


@pytest.mark.parametrize(("address", "patterns", "allowed"), SENDERS)
def test_a_sender_is_allowed_by_any_pattern(
    address: str, patterns: list[str], *, allowed: bool
) -> None:
    """Whatever the letter case; without a pattern anybody is."""
    assert is_allowed(NamedAddress(address), patterns) is allowed
