"""Encode a message for DATA (dot-stuffed) or BDAT (counted)."""

import re
from collections.abc import Iterator
from typing import Final

BLOCK_BYTES: Final = 256 * 1024
END_OF_DATA: Final = b".\r\n"

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


def _normalize_line_ends(mime: bytes) -> bytes:
    """End every line with CRLF, including the last.

    Some servers treat LF . LF as the end, and the rest as another message. RFC 5321 section 2.3.8
    forbids a lone CR or LF.
    """
    if not mime.count(b"\r\n") == mime.count(b"\n") == mime.count(b"\r"):
        mime = _LINE_END.sub(b"\r\n", mime)
    return mime if mime.endswith(b"\r\n") or not mime else mime + b"\r\n"


def encode_data(mime: bytes) -> list[bytes]:
    """Return the dot-stuffed body in parts; the last is its end (RFC 5321 section 4.5.2)."""
    body = _normalize_line_ends(mime).replace(b"\r\n.", b"\r\n..")
    return [b".", body, END_OF_DATA] if body.startswith(b".") else [body, END_OF_DATA]


def encode_first_chunk(mime: bytes) -> bytes:
    """Return a BDAT with the first byte, which tests for BDAT (RFC 3030).

    A server that does not know BDAT reads lines. One byte ends no line, so it is no command.
    """
    byte = _normalize_line_ends(mime[:1])[:1]
    return b"BDAT %d\r\n%b" % (len(byte), byte)


def encode_last_chunk(mime: bytes, start: int = 0) -> list[bytes]:
    """Return the last BDAT in parts: the message from byte `start` (RFC 3030 section 2)."""
    body = _normalize_line_ends(mime)[start:]
    return [b"BDAT %d LAST\r\n" % len(body), body]


def iter_data_blocks(mime: bytes, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the dot-stuffed body in blocks of whole lines.

    Builds each block on demand, with `size` bytes and the rest of the last line.
    """
    start = 0
    while (end := mime.find(b"\r\n", start + size) + 2) > 1:
        yield b"".join(encode_data(mime[start:end])[:-1])
        start = end
    yield b"".join(encode_data(mime[start:]))


def iter_chunk_blocks(mime: bytes, start: int = 0) -> Iterator[bytes]:
    """Yield the last BDAT in blocks of `BLOCK_BYTES`."""
    header, body = encode_last_chunk(mime, start)
    yield header
    for begin in range(0, len(body), BLOCK_BYTES):
        yield body[begin : begin + BLOCK_BYTES]
