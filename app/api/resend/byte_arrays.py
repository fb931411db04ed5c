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
_NUMBERS: Final = re.compile(rb"[0-9, \t\r\n]*")


def pack_byte_arrays(content: bytes) -> bytes:
    """Replace long arrays of bytes in `content` by base64. Leaves other arrays as they are.

    Takes linear time: the numbers of an array are read once.
    """
    pieces, copied, place = list[bytes](), 0, content.find(NAME)
    while place >= 0:
        opening = _OPENING.match(content, place)
        place += len(NAME)
        if opening is not None:
            start, place = opening.end(), _find_end(content, opening.end())
            is_array = place - start >= MIN_BYTES and content.startswith(b"]", place)
            if is_array and (packed := _pack(content, start, place)) is not None:
                pieces += (content[copied : start - 1], packed)
                copied = place + 1
        place = content.find(NAME, place)
    return b"".join((*pieces, content[copied:])) if pieces else content


def _find_end(content: bytes, start: int) -> int:
    """Find the end of the numbers in blocks, so that other threads run in between."""
    while True:
        numbers = _NUMBERS.match(content, start, start + BLOCK_BYTES)
        end = start if numbers is None else numbers.end()
        if end - start < BLOCK_BYTES:
            return end
        start = end


def _pack(content: bytes, start: int, end: int) -> bytes | None:
    """Return the array's bytes as a JSON string in base64, or None if it is no array of bytes."""
    try:
        file = b"".join(_read_blocks(content, start, end))
    except ValueError:
        return None
    return b'"' + b2a_base64(file, newline=False) + b'"'


def _read_blocks(content: bytes, start: int, end: int) -> Iterator[bytes]:
    """Read the numbers in blocks; raises ValueError if one is no byte."""
    while start < end:
        stop = content.find(b",", min(start + BLOCK_BYTES, end), end)
        stop = end if stop < 0 else stop
        yield bytes(map(int, content[start:stop].split(b",")))
        start = stop + 1
