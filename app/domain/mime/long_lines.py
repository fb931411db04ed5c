"""Re-encode parts whose lines are too long for SMTP (RFC 5321 section 4.5.3.1.6, RFC 6409 8.3)."""

import re
from collections.abc import Iterator
from typing import Final

from app.domain.mime.byte_blocks import BLOCK_BYTES, join_blocks
from app.domain.mime.part_reader import Part, read_message
from app.domain.mime.transfer_encoding import (
    CRLF,
    MAX_LINE_BYTES,
    encode_base64,
    quoted_printable,
)

# Signatures and encryption cover a part with its encoding (RFC 1847 section 2.1).
UNTOUCHABLE: Final = ("multipart/signed", "multipart/encrypted")
ENCODING_FIELD: Final = re.compile(
    rb"^content-transfer-encoding[ \t]*:[^\r]*(?:\r\n[ \t][^\r]*)*\r\n",
    re.IGNORECASE | re.MULTILINE,
)
SOFT_BREAK: Final = b"=\r\n"
TOO_LONG: Final = f"a line has more than {MAX_LINE_BYTES} bytes"


def has_long_line(mime: bytes, start: int = 0, end: int | None = None) -> bool:
    """Whether a line between `start` and `end` is longer than SMTP allows."""
    end = len(mime) if end is None else end
    while end - start > MAX_LINE_BYTES:
        line_end = mime.rfind(CRLF, start, start + MAX_LINE_BYTES + len(CRLF))
        if line_end < 0:
            return True
        start = line_end + len(CRLF)
    return False


def encode_long_lines(mime: bytes) -> bytes:
    """Return the message with each part that has a long line in quoted-printable or base64.

    Everything else stays byte for byte. Raises ValueError, which says what to change, where no
    encoding is allowed: in a header, in text outside the parts, in a message within the message, in
    signed content.
    """
    if not has_long_line(mime):
        return mime
    message = read_message(mime)
    if message.header.get("dkim-signature") is not None:
        raise ValueError(
            f"{TOO_LONG}, and the message has a DKIM-Signature, which a new encoding would break:"
            " encode the body in quoted-printable or base64 before you sign"
        )
    pieces, copied = list[bytes](), 0
    for part in _find_leaves(message):
        if has_long_line(mime, part.header.end, part.end):
            _check_header(mime, part)
            pieces += [mime[copied : part.start], *_encode(mime, part, is_whole=part is message)]
            copied = part.end
    result = join_blocks([*pieces, mime[copied:]])
    if has_long_line(result):
        raise ValueError(
            f"{TOO_LONG} in a header or outside the parts: fold it, and encode the body in"
            " quoted-printable or base64"
        )
    return result


def _find_leaves(part: Part) -> Iterator[Part]:
    """Yield the parts that may be encoded."""
    if part.parts:
        if part.kind not in UNTOUCHABLE:
            for inner in part.parts:
                yield from _find_leaves(inner)
    elif not part.kind.startswith(("multipart/", "message/")):
        yield part


def _check_header(mime: bytes, part: Part) -> None:
    if has_long_line(mime, part.start, part.header.end):
        raise ValueError(f"{TOO_LONG} in a header: fold it")


def _encode(mime: bytes, part: Part, *, is_whole: bool) -> list[bytes]:
    """Return the part's header with its new encoding, and the encoded body."""
    encoding = (part.header.get("content-transfer-encoding") or "7bit").lower()
    body = part.decode(part.end - part.header.end)
    is_text = part.kind.startswith("text/") and encoding != "base64"
    if is_text:
        name = "quoted-printable"
        encoded = join_blocks(_quoted_printable(body))
    else:
        name, encoded = "base64", join_blocks(encode_base64(body))
    header = mime[part.start : part.header.end].removesuffix(CRLF)
    fields = ENCODING_FIELD.sub(b"", header)
    if is_whole and part.header.get("mime-version") is None:
        fields += b"MIME-Version: 1.0\r\n"
    fields += f"Content-Transfer-Encoding: {name}\r\n\r\n".encode()
    return [fields, encoded]


def _quoted_printable(body: bytes) -> Iterator[bytes]:
    """Encode the body as quoted-printable, block by block, joined by soft breaks."""
    start = 0
    while len(body) - start > BLOCK_BYTES:
        line_end = body.rfind(CRLF, start, start + BLOCK_BYTES)
        is_whole_line = line_end >= 0
        if is_whole_line:
            end = line_end + len(CRLF)
        else:
            end = start + BLOCK_BYTES - body.startswith(b"\n", start + BLOCK_BYTES)
        block = _encode_block(body[start:end])
        yield block if is_whole_line else _break_softly(block)
        start = end
    yield _encode_block(body[start:])


def _encode_block(block: bytes) -> bytes:
    # The first line end decides which one the encoder uses.
    return quoted_printable(block + CRLF).removesuffix(CRLF)


def _break_softly(block: bytes) -> bytes:
    """End the block in a soft line break, with lines of at most 76 characters."""
    last = 3 if block[-3:-2] == b"=" else 1  # the last character, encoded or not
    return block[:-last] + SOFT_BREAK + block[-last:] + SOFT_BREAK
