"""The contents of a message, as a mail program shows them."""

import pytest

from app.domain.mime.attachment import Attachment, disposition_field
from app.domain.mime.contents import read_contents, read_file_name
from app.domain.mime.header_reader import read_header

MAIL = b"""Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=
Content-Type: multipart/mixed; boundary=b

--b
Content-Disposition: attachment; filename=notes.txt

A file, not the text.
--b
Content-Type: multipart/alternative; boundary=c

--c

It works.
--c
Content-Type: text/html

<p>It works.</p>
--c--
--b
Content-Type: image/png; name="a \\"b\\".png"
Content-Transfer-Encoding: base64

AAEC
--b--
"""


def test_text_html_and_files_are_told_apart() -> None:
    """A text part that is attached is a file, and so is a part with a name."""
    contents = read_contents(MAIL)
    assert contents.headers[0] == ("Subject", "Grüße")
    assert (contents.text, contents.html) == ("It works.", "<p>It works.</p>")
    assert [(file.name, file.kind, file.content) for file in contents.files] == [
        ("notes.txt", "text/plain", b"A file, not the text."),
        ('a "b".png', "image/png", b"\0\1\2"),
    ]


@pytest.mark.parametrize(
    "name", ["notes.txt", 'a "b".png', "Grüße an <Ann>.pdf", "it's 100% 日本.txt", "ü" * 255]
)
def test_a_file_name_reads_as_it_was_written(name: str) -> None:
    """In one section or several (RFC 2231)."""
    attachment = Attachment(filename=name, content_type="text/plain", content=b"")
    field = disposition_field(attachment).encode()
    assert read_file_name(read_header(field + b"\r\n")) == name


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("attachment; filename*=utf-8''%e2%82%ac.txt", "€.txt"),
        ("attachment; filename*=x-nothing''%41", "A"),
        ("attachment; filename*=unclosed", "unclosed"),
        ("attachment; filename*1=b; filename*0=a", "ab"),
        ("attachment; filename==?utf-8?q?=C3=BC?=", "ü"),
        ("attachment; filename*0*=utf-8''%ff", "\ufffd"),
        ("attachment", ""),
    ],
)
def test_other_spellings_of_a_file_name(value: str, name: str) -> None:
    """What mailers write, and what nobody should."""
    header = read_header(f"Content-Disposition: {value}\r\n\r\n".encode())
    assert read_file_name(header) == name
