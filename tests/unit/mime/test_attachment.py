"""A file in a message: its name, its type and its id, each written so that any reader knows it."""

from email import message_from_string, policy
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.mime.attachment import Attachment, disposition_field, parse_content_type

LINE: Final = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029")


def attachment(**fields: Any) -> Attachment:
    """A file of which only some fields matter."""
    plain = {"filename": "a.pdf", "content_type": "application/pdf", "content": b"%PDF"}
    return Attachment(**(plain | fields))


@pytest.mark.parametrize(
    ("filename", "parameters"),
    [
        ("", ""),
        ("receipt.pdf", 'filename="receipt.pdf"'),
        ("my receipt (1).pdf", 'filename="my receipt (1).pdf"'),
        ("Größe.pdf", "filename*=utf-8''Gr%C3%B6%C3%9Fe.pdf"),
        ('a"b\\c.pdf', "filename*=utf-8''a%22b%5Cc.pdf"),
        ("=?utf-8?q?a?=", "filename*=utf-8''%3D%3Futf-8%3Fq%3Fa%3F%3D"),
        ("漢" * 7, f"filename*0*=utf-8''{'%E6%BC%A2' * 6};\r\n filename*1*={'%E6%BC%A2'}"),
    ],
)
def test_a_filename_is_plain_or_encoded(filename: str, parameters: str) -> None:
    """RFC 2231 sections 3 and 4: what not every reader reads alike is encoded."""
    between = ";\r\n " if filename else ""
    written = f"Content-Disposition: attachment{between}{parameters}\r\n"
    assert disposition_field(attachment(filename=filename)) == written


@given(st.text(LINE, max_size=255) | st.text("ab .%'*\"\\;=?", max_size=255))
def test_any_filename_reads_back(filename: str) -> None:
    """On short lines."""
    field = disposition_field(attachment(filename=filename))
    assert max(map(len, field.split("\r\n"))) <= 78
    message = message_from_string(field + "\r\n", policy=policy.default)
    read = message["Content-Disposition"]
    assert read.defects == ()
    assert read.params.get("filename", "") == filename


def test_what_the_html_shows_is_inline() -> None:
    """RFC 2183 section 2.1."""
    field = disposition_field(attachment(content_id="logo"))
    assert field == 'Content-Disposition: inline;\r\n filename="a.pdf"\r\n'


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("application/pdf", ("application/pdf", [])),
        ("text/csv; charset=utf-8", ("text/csv", ["charset=utf-8"])),
        ('a/b ;c="d e";f=g ', ("a/b", ['c="d e"', "f=g"])),
        ("application/vnd.x+xml", ("application/vnd.x+xml", [])),
        ("", None),
        ("pdf", None),
        ("a/b/c", None),
        ("a /b", None),
        ("a/b;", None),
        ("a/b; c", None),
        ('a/b; c="d', None),
        ("a/b; c=d e", None),
        ("a/b\r\nBcc: eve@example.org", None),
        ('a/b; c="d\r\n"', None),
        ("ä/b", None),
        ("a" * 128 + "/b", None),
        ("a/b" + "; c=d" * 101, None),
    ],
)
def test_a_content_type_has_a_subtype_and_maybe_parameters(
    text: str, parsed: tuple[str, list[str]] | None
) -> None:
    """RFC 2045 section 5.1, without comments."""
    assert parse_content_type(text) == parsed


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"filename": "a\r\nBcc: eve@example.org"}, "filename"),
        ({"filename": "a\0"}, "filename"),
        ({"filename": "a\ud800"}, "filename"),
        ({"filename": "x" * 256}, "255 characters"),
        ({"content_type": "pdf"}, "application/pdf"),
        ({"content_id": ""}, "content id"),
        ({"content_id": "<logo>"}, "content id"),
        ({"content_id": "a\r\nb"}, "content id"),
        ({"content_id": "=?utf-8?q?a?="}, "content id"),
        ({"content_id": "x" * 201}, "content id"),
    ],
)
def test_what_could_not_be_written_cannot_be_made(fields: dict[str, Any], reason: str) -> None:
    """And it is told what can be."""
    with pytest.raises(ValueError, match=reason):
        attachment(**fields)
