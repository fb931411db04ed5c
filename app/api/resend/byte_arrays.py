"""Shorten the files that SDKs send as arrays of numbers to base64, before parsing.

Python's SDK documents `list(file.read())`, and older Node SDKs send `JSON.stringify(buffer)`. A
file of a megabyte is then a million JSON values, which the limits on JSON forbid.
"""

import re
from binascii import b2a_base64
from collections.abc import Iterator
from typing import Final

from app.api.requests.json_limits import BLOCK_BYTES

NAME: Final = b'"content"'
# Shorter arrays are parsed as they are.
MIN_BYTES: Final = 4096
_OPENING: Final = re.compile(
    rb'"content"\s*:\s*(?:\{\s*"type"\s*:\s*"Buffer"\s*,\s*"data"\s*:\s*)?\['
)
_NUMBERS: Final = b"0123456789, \t\r\n"


def pack_byte_arrays(content: bytes) -> bytes:
    """Replace long arrays of bytes in `content` by base64. Leaves other arrays as they are."""
    pieces, copied, start = list[bytes](), 0, content.find(NAME)
    while start >= 0:
        opening = _OPENING.match(content, start)
        end = -1 if opening is None else content.find(b"]", opening.end())
        if opening is not None and end - opening.end() >= MIN_BYTES:
            packed = _pack(content, opening.end(), end)
            if packed is not None:
                pieces += (content[copied : opening.end() - 1], packed)
                copied = end + 1
        start = content.find(NAME, start + len(NAME))
    return b"".join((*pieces, content[copied:])) if pieces else content


def _pack(content: bytes, start: int, end: int) -> bytes | None:
    """Return the array's bytes as a JSON string in base64, or None if it is no array of bytes."""
    try:
        file = b"".join(_read_blocks(content, start, end))
    except ValueError:
        return None
    return b'"' + b2a_base64(file, newline=False) + b'"'


def _read_blocks(content: bytes, start: int, end: int) -> Iterator[bytes]:
    """Read the numbers in blocks, so that other threads run in between."""
    while start < end:
        stop = content.find(b",", min(start + BLOCK_BYTES, end), end)
        block = content[start : end if stop < 0 else stop]
        if block.translate(None, _NUMBERS):
            raise ValueError("not only numbers")
        yield bytes(map(int, block.split(b",")))
        start = end if stop < 0 else stop + 1
