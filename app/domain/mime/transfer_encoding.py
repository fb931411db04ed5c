"""Encode bodies for transfer (RFC 2045 section 6).

Uses the standard library's C functions, for a block or a whole text at a time.
"""

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Iterator
from typing import Final

from app.domain.mime.byte_blocks import BLOCK_BYTES

CRLF: Final = b"\r\n"
MAX_TEXT_LINE_BYTES: Final = 78  # RFC 5322 section 2.1.1: should; longer lines are encoded
MAX_LINE_BYTES: Final = 998  # RFC 5322 section 2.1.1: must
BASE64_LINE_BYTES: Final = 76
# 57 bytes make a line. A block has some 0.9 MB, to avoid a copy of the whole.
BASE64_BLOCK_BYTES: Final = 57 * 16_384

# The prefix of boundaries. Base64 and quoted-printable cannot contain `=_`; unencoded content must
# not.
BOUNDARY: Final = b"=_heloise_"

_LITERAL: Final = bytes({*b"\t\r\n", *range(32, 127)} - {*b"="})  # in quoted-printable
# A trailing space is encoded after the line was measured, and makes it longer than 76.
_OVERLONG: Final = re.compile(rb"^(.{74})(=20|=09)\r", re.MULTILINE)


def encode_text(text: str) -> tuple[str, bytes]:
    """Encode a text with CRLF lines; return the encoding's name and the bytes.

    Short ASCII lines stay as they are (7bit); other text gets the shorter of quoted-printable and
    base64. A lone CR or LF becomes CRLF.
    """
    data = _normalize(text)
    longest = max(max(map(len, block.split(CRLF))) for block in split_line_blocks(data))
    if longest <= MAX_TEXT_LINE_BYTES and _is_7bit(data):
        return "7bit", data
    unsafe_bytes = sum(len(block.translate(None, _LITERAL)) for block in split_line_blocks(data))
    if unsafe_bytes * 6 > len(data):  # 2 more bytes for each, against a third more for all
        return "base64", b"".join(encode_base64(data))
    return "quoted-printable", b"".join(map(quoted_printable, split_line_blocks(data)))


def _normalize(text: str) -> bytes:
    """Encode as UTF-8 with CRLF lines, the last one ended too."""
    data = text.encode()
    if b"\r" in data:
        data = data.replace(CRLF, b"\n").replace(b"\r", b"\n")
    return (data if data.endswith(b"\n") else data + b"\n").replace(b"\n", CRLF)


def split_line_blocks(content: bytes) -> Iterator[bytes]:
    """Yield blocks of whole lines, so that other threads run in between."""
    start = 0
    while len(content) - start > BLOCK_BYTES:
        end = content.index(CRLF, start + BLOCK_BYTES - len(CRLF)) + len(CRLF)
        yield content[start:end]
        start = end
    if start < len(content):
        yield content[start:]


def _is_7bit(data: bytes) -> bool:
    """Whether lines may be sent unencoded in a part among others."""
    return data.isascii() and b"\0" not in data and BOUNDARY not in data


def is_7bit(content: bytes) -> bool:
    """Whether bytes may be sent unchanged as 7bit (RFC 2045 section 2.7)."""
    lines = content.split(CRLF)
    return (
        _is_7bit(content)
        and content.count(b"\r") == content.count(b"\n") == len(lines) - 1
        and max(map(len, lines)) <= MAX_LINE_BYTES
    )


def encode_base64(content: bytes) -> Iterator[bytes]:
    """Encode in base64, in lines of 76 characters, block by block."""
    view = memoryview(content)
    for start in range(0, len(view), BASE64_BLOCK_BYTES):
        encoded = b2a_base64(view[start : start + BASE64_BLOCK_BYTES], newline=False)
        starts = range(0, len(encoded), BASE64_LINE_BYTES)
        lines = [encoded[offset : offset + BASE64_LINE_BYTES] for offset in starts]
        lines.append(b"")
        yield CRLF.join(lines)


def quoted_printable(data: bytes) -> bytes:
    """Return CRLF lines in quoted-printable (RFC 2045 section 6.7)."""
    encoded = b2a_qp(data)
    if b" \r" in data or b"\t\r" in data:
        return _OVERLONG.sub(rb"\1=\r\n\2\r", encoded)
    return encoded
