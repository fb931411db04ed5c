"""The rendered message: what was given reads back, and nothing else stands in it (invariant 2)."""

import re
from collections.abc import Iterable
from email import message_from_bytes
from email.header import decode_header, make_header
from email.policy import SMTP
from email.utils import getaddresses
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.mime.build import Content, build_message_id, check_header, check_subject
from app.domain.types import NamedAddress
from tests.support.rendered import BODIES, MESSAGE_ID, parse, render_content


def named_addresses(mime: bytes, field: str) -> list[NamedAddress]:
    """The addresses of a header field.

    Read by RFC 2047 section 6.2: the space between two encoded words is none. The standard
    library's newer reader makes it one in a name.
    """
    (value,) = message_from_bytes(mime).get_all(field, [])
    unfolded = re.sub(r"\r\n(?=[ \t])", "", str(value))
    return [
        NamedAddress(address, str(make_header(decode_header(name))))
        for name, address in getaddresses([unfolded])
    ]


def lines(text: str) -> list[str]:
    """The lines of a text, however they end."""
    return re.split(r"\r\n|\r|\n", text.rstrip("\r\n"))


def test_a_plain_message_is_as_plain_on_the_wire() -> None:
    """Every field once, in this order, and no other."""
    assert render_content(subject="Hello", headers={"X-Campaign": "spring"}) == (
        b"Date: Thu, 15 Jan 2026 09:30:05 +0000\r\n"
        b"From: Billing <billing@example.com>\r\n"
        b"To: Ann <ann@example.org>\r\n"
        b"Subject: Hello\r\n"
        b"Message-ID: <0198c5a2-d3f0-7b6e-8a4c-1d2e3f405162@example.com>\r\n"
        b"X-Campaign: spring\r\n"
        b'Content-Type: text/plain; charset="utf-8"\r\n'
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"MIME-Version: 1.0\r\n"
        b"\r\n"
        b"Thanks.\r\n"
    )


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({"text": "T", "html": None}, ["text/plain"]),
        ({"text": None, "html": "<p>H</p>"}, ["text/html"]),
        (
            {"text": "T", "html": "<p>H</p>"},
            ["multipart/alternative", "text/plain", "text/html"],
        ),
    ],
)
def test_text_and_html_are_parts_in_the_order_of_preference(
    fields: dict[str, str | None], kinds: list[str]
) -> None:
    """RFC 2046 section 5.1.4: the last one is the best."""
    message = parse(render_content(**fields))
    assert [part.get_content_type() for part in message.walk()] == kinds
    texts = [part.get_content().strip() for part in message.walk() if not part.is_multipart()]
    assert texts == [value for value in fields.values() if value is not None]


def test_an_address_in_another_script_is_kept_in_the_header() -> None:
    """In UTF-8 (RFC 6532 section 3), names and all the rest in ASCII as ever."""
    anne = NamedAddress("änne@example.org", "Änne Müller")
    header, _, body = render_content(
        to=(anne, NamedAddress("ann@example.org")), html="ä"
    ).partition(b"\r\n\r\n")
    assert b"To: =?utf-8?b?w4RubmUgTcO8bGxlcg==?= <\xc3\xa4nne@example.org>,\r\n" in header
    assert header.replace("änne@".encode(), b"").isascii()
    assert body.isascii()
    to = message_from_bytes(header.replace("änne@".encode(), b"anne@"), policy=SMTP)["To"]
    assert [address.addr_spec for address in to.addresses] == [
        "anne@example.org",
        "ann@example.org",
    ]


def test_a_header_whose_addresses_have_long_names_in_another_script_is_short() -> None:
    """RFC 6532 section 3.4: 998 octets, whatever the characters."""
    mime = render_content(
        to=tuple(NamedAddress("漢" * 64 + "@example.org", "字" * 500) for _ in range(20))
    )
    assert max(map(len, _header_lines(mime))) <= 998


def test_bcc_has_no_place_in_the_content() -> None:
    """Whoever gets a blind copy stands in no header."""
    assert "bcc" not in Content.__dataclass_fields__
    assert parse(render_content(to=()))["To"] is None


def test_the_same_content_renders_to_the_same_bytes() -> None:
    """Date and Message-ID are given, not made."""
    fields = {"subject": "Grüße", "text": "ä" * 500}
    assert render_content(**fields) == render_content(**fields)


def test_the_message_id_is_made_of_the_id_and_the_senders_domain() -> None:
    """RFC 5322 section 3.6.4."""
    header = build_message_id("msg_0198c5a2d3f07b6e8a4c1d2e3f405162", NamedAddress("a@Example.com"))
    assert header == MESSAGE_ID


def test_a_thousand_recipients_stand_in_one_field() -> None:
    """RFC 5322 section 3.6.3: `To` may occur once."""
    many = tuple(
        NamedAddress(f"recipient-number-{n}@example.org", f"Ünal Ğ {n}, the {n}th")
        for n in range(1000)
    )
    mime = render_content(to=many)
    assert named_addresses(mime, "To") == list(many)
    assert len(parse(mime)["To"].addresses) == 1000


ONE_LINE = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029")
TRICKY = st.sampled_from(
    [
        "=?utf-8?q?a?=",
        "=?utf-8?b?YQ==?= =?utf-8?b?YQ==?=",
        "=?x?q?a b?=",
        "=?",
        "?=",
        " ",
        "  ",
        '"',
        "\\",
        ",",
        "<eve@example.net>",
        ":;",
        "(c)",
        "é",
        "\u00a0",
        "漢字",
        "👩\u200d👧",
        "x" * 80,
        "y" * 1000,
        "a ",
    ]
)
TEXTS = st.text(ONE_LINE, max_size=200) | st.lists(TRICKY, max_size=12).map("".join)
# A word of ASCII that is longer than a line is refused: it is no text that may be encoded.
VALUES = TEXTS.filter(lambda text: not text.isascii() or max(map(len, text.split(" "))) < 998)
NAMES = TEXTS.map(lambda name: name[:500].strip())


@settings(deadline=None)
@given(TEXTS)
def test_any_subject_reads_back(subject: str) -> None:
    """Any script, any punctuation, spaces where they were."""
    check_subject(subject)
    assert str(parse(render_content(subject=subject))["Subject"]) == subject


@settings(deadline=None)
@given(VALUES, st.sampled_from(["X-A", "X-" + "b" * 60, "c" * 76]))
def test_any_header_reads_back(value: str, name: str) -> None:
    """However long its name is."""
    check_header(name, value)
    assert str(parse(render_content(headers={name: value}))[name]) == value


@settings(deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=4))
def test_any_name_reads_back(names: list[str]) -> None:
    """In every field that holds mailboxes, and no name becomes an address."""
    given_mailboxes = tuple(
        NamedAddress(f"a{number}@example.org", name) for number, name in enumerate(names)
    )
    mime = render_content(
        sender=given_mailboxes[0], to=given_mailboxes, cc=given_mailboxes, reply_to=given_mailboxes
    )
    message = parse(mime)
    assert named_addresses(mime, "From") == [given_mailboxes[0]]
    for field in ("To", "Cc", "Reply-To"):
        assert named_addresses(mime, field) == list(given_mailboxes)
        addresses = [address.addr_spec for address in message[field].addresses]
        assert addresses == [named_address.address for named_address in given_mailboxes]


@settings(deadline=None)
@given(BODIES, BODIES)
def test_any_text_and_html_read_back(text: str, html: str) -> None:
    """Line for line; how lines end is the wire's."""
    message = parse(render_content(text=text, html=html))
    plain, rich = message.iter_parts()
    assert lines(plain.get_content()) == lines(text)
    assert lines(rich.get_content()) == lines(html)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"X-[A-Za-z0-9-]{1,20}", fullmatch=True), VALUES, max_size=4
    ).filter(lambda headers: len({name.lower() for name in headers}) == len(headers)),
    TEXTS,
)
def test_only_requested_headers_are_written(headers: dict[str, str], subject: str) -> None:
    """Whatever is in subject and headers."""
    message = parse(render_content(subject=subject, headers=headers))
    assert sorted(message.keys()) == sorted(
        [
            *("Date", "From", "To", "Subject", "Message-ID", *headers),
            *("MIME-Version", "Content-Type", "Content-Transfer-Encoding"),
        ]
    )


@pytest.mark.parametrize(
    "text",
    [
        "x" * 5000,
        "é" * 5000,
        "From me\n.\n..\n.hidden\nFrom you",
        "a\r\nb\rc\nd",
        "tab\tand form feed\f and \x85 and \x1c",
        "trailing \nspaces\t\n",
        "",
        "\n\n\n",
        "--===============0==\nContent-Type: text/html\n\n<p>",
        "line\n" * 100 + "é" + "x" * 3000,
    ],
)
def test_no_text_breaks_the_message(text: str) -> None:
    """Long lines, dots, every kind of line end, and what looks like a boundary."""
    plain = parse(render_content(text=text))
    assert lines(plain.get_content()) == lines(text)
    both = [part.get_content() for part in parse(render_content(text=text, html=text)).iter_parts()]
    assert [lines(body) for body in both] == [lines(text), lines(text)]


URL: Final = "<https://example.com/unsubscribe?" + "token=" + "x" * 300 + ">"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("List-Unsubscribe", URL),
        ("List-Unsubscribe", f"{URL}, <mailto:leave@example.com?subject=leave>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("In-Reply-To", "<" + "a" * 200 + "@example.com>"),
        ("References", " ".join(f"<{'r' * 60}{n}@example.com>" for n in range(20))),
        ("X-Equals", "a=?b"),
    ],
)
def test_a_structured_value_is_never_encoded(name: str, value: str) -> None:
    """RFC 2047 section 5: a URL or a Message-ID stands there as it is, folded at spaces alone."""
    mime = render_content(headers={name: value})
    field = mime[mime.index(f"{name}: ".encode()) :]
    unfolded = re.split(rb"\r\n(?! )", field)[0].replace(b"\r\n", b"")
    assert unfolded == f"{name}: {value}".encode()
    assert str(parse(mime)[name]) == value


def _header_lines(mime: bytes) -> Iterable[bytes]:
    return mime.partition(b"\r\n\r\n")[0].split(b"\r\n")


@pytest.mark.parametrize("subject", ["word " * 100, "ä" * 300, "漢字 " * 100])
def test_header_lines_are_short_where_they_can_be(subject: str) -> None:
    """RFC 5322 section 2.1.1, and 76 with encoded words (RFC 2047 section 2)."""
    assert max(map(len, _header_lines(render_content(subject=subject)))) <= 78


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("From", "`from`"),
        ("to", "`to`"),
        ("CC", "`cc`"),
        ("Bcc", "`bcc`"),
        ("Reply-To", "`reply_to`"),
        ("SUBJECT", "`subject`"),
        ("Date", "leave it out"),
        ("Message-ID", "leave it out"),
        ("Message-Id", "leave it out"),
        ("MIME-Version", "leave it out"),
        ("Content-Type", "leave it out"),
        ("Content-Transfer-Encoding", "leave it out"),
        ("content-anything", "leave it out"),
        ("Return-Path", "leave it out"),
        ("Received", "leave it out"),
        ("Sender", "set that instead"),
        ("Resent-Bcc", "leave it out"),
        ("DKIM-Signature", "leave it out"),
        ("Authentication-Results", "leave it out"),
        ("ARC-Seal", "leave it out"),
    ],
)
def test_a_reserved_header_is_refused_with_what_to_use(name: str, instead: str) -> None:
    """In any letter case."""
    with pytest.raises(ValueError, match=r".") as excinfo:
        check_header(name, "x")
    assert instead in str(excinfo.value)


@pytest.mark.parametrize(
    "name", ["", "X A", "X:A", "X-A:", "X-Ä", "X\r\nBcc", "X\0", "X-A ", " X-A", "x" * 77]
)
def test_what_is_no_field_name_is_refused(name: str) -> None:
    """RFC 5322 section 3.6.8."""
    with pytest.raises(ValueError, match="ASCII"):
        check_header(name, "x")


BREAKS: Final = ["\r", "\n", "\r\n", "\0", "\x0b", "\x0c", "\x1c", "\x7f", "\x85", "\u2028"]


@pytest.mark.parametrize("character", [*BREAKS, "\u2029", "\ud800", "\t"])
def test_no_value_breaks_its_line(character: str) -> None:
    """Header injection is impossible: not by any line end that some reader knows."""
    with pytest.raises(ValueError, match="line break"):
        check_subject(f"a{character}Bcc: eve@example.net")
    with pytest.raises(ValueError, match="line break"):
        check_header("X-A", f"a{character}Bcc: eve@example.net")


@pytest.mark.parametrize(
    "name", ["X-Campaign", "List-Unsubscribe", "In-Reply-To", "!#$%&'*+-^_`|~"]
)
def test_other_headers_are_the_callers(name: str) -> None:
    """An empty value is one too."""
    check_header(name, "")
    assert parse(render_content(headers={name: ""}))[name] == ""


def test_a_header_is_bounded() -> None:
    """10,000 characters are in, one more is not."""
    check_header("X-A", "x " * 4_999 + "xx")
    with pytest.raises(ValueError, match="10000"):
        check_header("X-A", "x " * 5_000 + "x")
