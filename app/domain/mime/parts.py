"""Build the MIME parts of a body (RFC 2045, RFC 2046).

Chunks are joined once, at the end: no part is copied into its parent.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

from app.domain.mime.attachment import Attachment, disposition_field, parse_content_type
from app.domain.mime.calendar import Calendar
from app.domain.mime.transfer_encoding import BOUNDARY, CRLF, encode_base64, encode_text, is_7bit

OCTET_STREAM: Final = "application/octet-stream"
MAX_LINE_CHARACTERS: Final = 78

MultipartKind = Literal["alternative", "related", "mixed"]


class Part(NamedTuple):
    """A part: `header` has fields without the empty line, `chunks` the body."""

    header: bytes
    chunks: Sequence[bytes]


def text_part(subtype: Literal["plain", "html"], text: str) -> Part:
    """Build a text part in any script (RFC 2046 section 4.1)."""
    return _build_text_part(f'text/{subtype}; charset="utf-8"', text)


def calendar_part(calendar: Calendar) -> Part:
    """Build an invitation beside the text (RFC 6047 section 2.4)."""
    return _build_text_part(
        f'text/calendar; charset="utf-8"; method={calendar.method}', calendar.text
    )


def _build_text_part(content_type: str, text: str) -> Part:
    encoding, data = encode_text(text)
    header = f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n"
    return Part(header.encode(), (data,))


def file_part(attachment: Attachment) -> Part:
    """Build a file in base64.

    Attached messages must not be encoded (RFC 2045 section 6.4): they are sent as they are if
    possible, otherwise as base64 of an unspecified type, as other composite types.
    """
    content_type = _format_content_type(attachment)
    is_message = content_type.lower().startswith("message/")
    encoding = "7bit" if is_message else "base64"
    chunks = [attachment.content] if is_message else list(encode_base64(attachment.content))
    fields = [
        f"Content-Type: {content_type}\r\n",
        f"Content-Transfer-Encoding: {encoding}\r\n",
        disposition_field(attachment),
    ]
    if attachment.content_id is not None:
        fields.append(f"Content-ID: <{attachment.content_id}>\r\n")
    return Part("".join(fields).encode(), chunks)


def _format_content_type(attachment: Attachment) -> str:
    kind, parameters = parse_content_type(attachment.content_type) or (OCTET_STREAM, [])
    lower = kind.lower()
    is_bare = lower.startswith("message/") and is_7bit(attachment.content)
    if lower.startswith(("message/", "multipart/")) and not is_bare:
        return OCTET_STREAM
    line = f"Content-Type: {'; '.join([kind, *parameters])}"
    separator = "; " if len(line) <= MAX_LINE_CHARACTERS else ";\r\n "
    return separator.join([kind, *parameters])


def multipart(kind: MultipartKind, parts: Iterable[Part]) -> Part:
    """Combine parts; a message has one part of each kind, so boundaries are unique."""
    boundary = BOUNDARY + kind.encode()
    chunks = list[bytes]()
    for header, part_chunks in parts:
        chunks += (CRLF, b"--", boundary, CRLF, header, CRLF, *part_chunks)
    chunks += (CRLF, b"--", boundary, b"--", CRLF)
    del chunks[0]  # a boundary's leading line end belongs to it; nothing precedes it here
    type_parameter = b'; type="text/html"' if kind == "related" else b""  # RFC 2387 section 3.1
    header = b'Content-Type: multipart/%b%b;\r\n boundary="%b"\r\n' % (
        kind.encode(),
        type_parameter,
        boundary,
    )
    return Part(header, chunks)
