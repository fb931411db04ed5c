"""Generate and parse encryption keys: 32 bytes in base64."""

import base64
import binascii
import os
from typing import Final

KEY_BYTES: Final = 32

_STANDARD: Final = str.maketrans("-_", "+/")


def parse_key(text: str) -> bytes:
    """Decode a key of 32 bytes from base64, standard or URL-safe.

    Raises ValueError, whose text does not quote the key.
    """
    try:
        key = base64.b64decode(text.strip().translate(_STANDARD), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"not {KEY_BYTES} bytes in base64; print a key with `heloise secret-key`")
    return key


def generate_key() -> str:
    """Generate a random key in the format of `parse_key`."""
    return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode()
