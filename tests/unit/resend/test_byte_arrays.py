"""Arrays of bytes become base64 before they are parsed, and nothing else changes."""

import json
from base64 import b64encode
from typing import Any, Final

import pytest

from app.api.resend.byte_arrays import pack_byte_arrays

FILE: Final = bytes(range(256)) * 600  # several blocks
PACKED: Final = b64encode(FILE).decode()


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"content": list(FILE)}, {"content": PACKED}),
        (
            {"content": {"type": "Buffer", "data": list(FILE)}},
            {"content": {"type": "Buffer", "data": PACKED}},
        ),
        ([{"content": list(FILE)}] * 2, [{"content": PACKED}] * 2),
    ],
)
def test_a_long_array_of_bytes_is_packed(value: Any, expected: Any, indent: int | None) -> None:
    """With and without blanks between its numbers."""
    assert json.loads(pack_byte_arrays(json.dumps(value, indent=indent).encode())) == expected


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"content": [1, 2, 3]}).encode(),  # short
        json.dumps({"content": [256] * 5000}).encode(),  # no bytes
        json.dumps({"content": [[1] * 5000]}).encode(),
        json.dumps({"variables": list(FILE)}).encode(),
        json.dumps({"text": json.dumps({"content": list(FILE)})}).encode(),  # in a string
        b'{"content":[' + b"1," * 5000 + b"]}",
        b'{"content":[' + b"1 1," * 5000 + b"1]}",
        b'{"content":[' + b"1," * 5000,
        b'"content"',
        b"",
    ],
)
def test_everything_else_stays(content: bytes) -> None:
    """Parsers and limits decide about it."""
    assert pack_byte_arrays(content) == content


def test_beginnings_of_arrays_take_linear_time() -> None:
    """A body of beginnings is read once: this ends, where quadratic time would take hours."""
    content = b'"content":[1,' * 1_000_000
    assert pack_byte_arrays(content) == content
