"""Header fields as lines: short where words allow, and read as one field by any reader."""

from email import message_from_string, policy
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.mime.custom_headers import check_header
from app.domain.mime.headers import address_field, text_field
from app.domain.types import NamedAddress

LINE: Final = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029")
WORDS: Final = st.lists(st.text(LINE, min_size=1, max_size=50), max_size=20).map(" ".join)
NAMES: Final = WORDS.map(str.strip)
FIELD_NAME: Final = st.from_regex(r"X-[A-Za-z0-9-]{0,30}", fullmatch=True)


def short(field: str) -> list[str]:
    """The lines of one field, after a check that each is one and has 78 characters at most."""
    assert field.endswith("\r\n")
    assert field.isascii()
    lines = field[:-2].split("\r\n")
    assert not any("\r" in line or "\n" in line for line in lines)
    assert all(len(line) <= 78 for line in lines), lines
    assert all(line.startswith(" ") for line in lines[1:])
    assert all(line.strip() for line in lines[1:]), "RFC 5322 section 3.2.2: no line of spaces"
    return lines


@given(FIELD_NAME, WORDS)
def test_a_text_of_ordinary_words_has_short_lines(name: str, value: str) -> None:
    """RFC 5322 section 2.1.1: 78 characters; a reader puts the lines together again."""
    check_header("X-A", value)
    field = text_field(name, value)
    if value.isascii() and max(map(len, value.split(" "))) + len(name) > 70:
        return  # a word that is as long as that is never broken
    short(field)
    assert str(message_from_string(field + "\r\n", policy=policy.default)[name]) == value


@given(st.sampled_from(["From", "To", "Cc", "Reply-To"]), st.lists(NAMES, min_size=1, max_size=8))
def test_mailboxes_stand_on_short_lines(name: str, names: list[str]) -> None:
    """Each begins a line, names are encoded or quoted, and as many come out as went in."""
    given_mailboxes = [
        NamedAddress(f"recipient-number-{number}@mail.example.org", display_name)
        for number, display_name in enumerate(names)
    ]
    field = address_field(name, given_mailboxes)
    short(field)
    read = message_from_string(field + "\r\n", policy=policy.default)[name].addresses
    assert [mailbox.addr_spec for mailbox in read] == [
        named_address.address for named_address in given_mailboxes
    ]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("", "ann@example.org"),
        ("Ann", "Ann <ann@example.org>"),
        ("Ann Doe", "Ann Doe <ann@example.org>"),
        ("O'Hara", "O'Hara <ann@example.org>"),
        ("Dr. Ann", '"Dr. Ann" <ann@example.org>'),
        ("Doe, Ann", '"Doe, Ann" <ann@example.org>'),
        ('Ann "the" Doe', r'"Ann \"the\" Doe" <ann@example.org>'),
        ("a\\b", r'"a\\b" <ann@example.org>'),
        ("eve@example.net", '"eve@example.net" <ann@example.org>'),
        ("<eve@example.net>,", '"<eve@example.net>," <ann@example.org>'),
        ("Änne", "=?utf-8?b?w4RubmU=?= <ann@example.org>"),
        ("=?utf-8?q?x?=", "=?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <ann@example.org>"),
        ("a  b", "=?utf-8?b?YSAgYg==?= <ann@example.org>"),
    ],
)
def test_a_name_is_plain_quoted_or_encoded(name: str, written: str) -> None:
    """RFC 5322 section 3.2.5, RFC 2047 section 5 (3)."""
    assert address_field("To", [NamedAddress("ann@example.org", name)]) == f"To: {written}\r\n"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("", "Subject: \r\n"),
        ("Hello", "Subject: Hello\r\n"),
        ("a =? b", "Subject: a =? b\r\n"),
        (" a", "Subject: =?utf-8?b?IGE=?=\r\n"),
        ("a ", "Subject: =?utf-8?b?YSA=?=\r\n"),
        (" ", "Subject: =?utf-8?b?IA==?=\r\n"),
        ("é", "Subject: =?utf-8?b?w6k=?=\r\n"),
        ("x" * 900, f"Subject: {'x' * 900}\r\n"),
        (f"Hi {'x' * 80} ho", f"Subject: Hi\r\n {'x' * 80}\r\n ho\r\n"),
    ],
)
def test_a_text_is_as_it_is_where_it_can_be(value: str, written: str) -> None:
    """Encoded where spaces would be lost, where it is not ASCII, and nowhere else."""
    assert text_field("Subject", value) == written


@given(st.text(LINE, max_size=3000))
def test_no_line_is_longer_than_a_server_takes(value: str) -> None:
    """RFC 5321 section 4.5.3.1.6: 1000 octets with the line end, whatever the words are."""
    for name in ("Subject", "x" * 76):
        assert max(map(len, text_field(name, value).split("\r\n"))) <= 998


def test_no_unbroken_word_is_longer_than_a_server_takes() -> None:
    """Past 900 characters it is encoded."""
    field = text_field("x" * 76, "y" * 10_000)
    assert max(map(len, field.split("\r\n"))) <= 998
