"""Header fields of a caller: structure stays, names are encoded, nothing is encoded in silence."""

import re
from email import message_from_string, policy
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.mime.custom_headers import check_header, custom_field

FUER_ZOE: Final = "=?utf-8?b?RsO8ciBab8Or?="
ZOE: Final = "=?utf-8?b?Wm/Dqw==?="
URL: Final = "https://example.com/u?t=" + "x" * 950
IDS: Final = [f"<{number:040}@mail.example.com>" for number in range(40)]


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("List-Id", "Für Zoë <news.example.com>", f"{FUER_ZOE} <news.example.com>"),
        ("list-ID", '"Für Zoë"  <news.example.com>', f"{FUER_ZOE} <news.example.com>"),
        ("List-Id", "News, weekly <news.example.com>", '"News, weekly" <news.example.com>'),
        ("List-Id", "<news.example.com>", "<news.example.com>"),
        ("List-Id", "news.example.com", "news.example.com"),
        ("Disposition-Notification-To", "Zoë <a@example.com>", f"{ZOE} <a@example.com>"),
        ("Disposition-Notification-To", "a@example.com", "a@example.com"),
        (
            "Return-Receipt-To",
            'Zoë <a@example.com>,  "B, C" <b@example.com>',
            f'{ZOE} <a@example.com>,\r\n "B, C" <b@example.com>',
        ),
        ("Errors-To", "Zoë <a@bücher.example>", f"{ZOE} <a@xn--bcher-kva.example>"),
        ("Errors-To", "undisclosed recipients:;", "undisclosed recipients:;"),
        ("Errors-To", 'a" <a@example.com>', 'a" <a@example.com>'),
        ("References", "<a@b.example>  <c@d.example>", "<a@b.example> <c@d.example>"),
        ("References", " <a@b.example><c@d.example> ", "<a@b.example> <c@d.example>"),
        ("In-Reply-To", "Your message of Monday", "Your message of Monday"),
        ("List-Unsubscribe", f"<{URL}>", f"<{URL}>"),
        (
            "List-Unsubscribe",
            "<mailto:u@example.com> ,<https://example.com/ u>",
            "<mailto:u@example.com>, <https://example.com/u>",
        ),
        (
            "List-Help",
            "<https://example.com/> (Hilfe für alle)",
            "<https://example.com/> (=?utf-8?b?SGlsZmUgZsO8ciBhbGxl?=)",
        ),
        ("List-Post", "NO (posting is closed)", "NO (posting is closed)"),
        ("Keywords", "Grüße, news", "=?utf-8?b?R3LDvMOfZQ==?=,\r\n news"),
        ("X-Tags", '{"a":  1, "b": [2]}', '{"a":  1, "b": [2]}'),
        ("X-Tags", ' {"a": "=?x?="} ', '{"a": "=?x?="}'),
        ("X-Tags", '{"a":"' + "x" * 980 + '"}', '{"a":"' + "x" * 980 + '"}'),
        ("X-Note", "a  b", "a  b"),
        ("X-Note", "Grüße", "=?utf-8?b?R3LDvMOfZQ==?="),
        ("X-Token", "y" * 990, "\r\n " + "y" * 990),
    ],
)
def test_a_field_is_written_by_its_structure(name: str, value: str, written: str) -> None:
    """RFC 5322 section 3.6, RFC 2369, RFC 2919, RFC 8098."""
    check_header(name, value)
    space = "" if written.startswith("\r\n") else " "
    assert custom_field(name, value) == f"{name}:{space}{written}\r\n"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("References", "<" + "x" * 1000 + "@example.com>", "1014 characters"),
        ("List-Unsubscribe", "<https://example.com/" + "x" * 1000 + ">", "1022 characters"),
        ("X-Tags", '{"a":"' + "x" * 1000 + '"}', "1008 characters"),
        ("X-Token", "x" * 1000, "1000 characters"),
        ("X-Tags", '{"a": "ü"}', r"\u escapes"),
        ("X-Tags", '["ü"]', r"\u escapes"),
        ("References", "<ü@example.com>", "message ids are ASCII"),
        ("List-Unsubscribe", "<https://example.com/ü>", "percent-encoded"),
        ("List-Id", "News <für.example.com>", "<news.example.com>"),
        ("Disposition-Notification-To", "<zoë@example.com>", "ASCII"),
        ("Disposition-Notification-To", "Zoë", "no @"),
        ("X-Priority", "größte", "ASCII"),
    ],
)
def test_what_cannot_be_written_is_refused(name: str, value: str, reason: str) -> None:
    """With what is wrong about it, and its length where that is it."""
    with pytest.raises(ValueError, match=re.escape(reason)):
        check_header(name, value)


@pytest.mark.parametrize("between", [" ", "  ", ""])
def test_many_ids_stand_on_short_lines(between: str) -> None:
    """Each whole."""
    field = custom_field("References", between.join(IDS))
    assert max(map(len, field.split("\r\n"))) <= 78
    assert field.removeprefix("References: ").split() == IDS


NAMES: Final = st.sampled_from(
    ["List-Id", "List-Unsubscribe", "References", "Errors-To", "Keywords", "X-Priority", "X-Any"]
)
PIECES: Final = st.sampled_from(
    ["<", ">", "(", ")", ",", '"', "\\", " ", "  ", "a@b.example", "ü", "=?utf-8?q?a?=", "x" * 990]
)


@given(NAMES, st.lists(PIECES, max_size=20).map("".join))
def test_any_value_is_one_field_in_lines_that_servers_take(name: str, value: str) -> None:
    """Or it is refused."""
    try:
        field = custom_field(name, value)
    except ValueError:
        return
    assert field.isascii()
    assert field.endswith("\r\n")
    lines = field[:-2].split("\r\n")
    assert all(len(line) <= 998 for line in lines)
    assert all(line.startswith(" ") and line.strip() for line in lines[1:])
    assert message_from_string(f"{field}\r\n", policy=policy.compat32).keys() == [name]
