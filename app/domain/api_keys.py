"""Generate, recognize and hash API keys."""

import secrets
from hashlib import sha256
from typing import Final

PREFIX: Final = "hel_"
RANDOM_BYTES: Final = 32
HINT_CHARACTERS: Final = len(PREFIX) + 4


def generate_secret() -> str:
    """Generate a key such as `hel_4fQk…`: 256 random bits, safe in URLs and headers."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def build_hint(secret: str) -> str:
    """Return the beginning of a key, for display: it reveals 24 of 256 bits."""
    return f"{secret[:HINT_CHARACTERS]}…"


def looks_like_key(text: str) -> bool:
    """Whether a text begins like a key, so that its hint reveals no other secret."""
    return text.startswith(PREFIX) and len(text) > HINT_CHARACTERS


def hash_secret(secret: str) -> bytes:
    """Return what is stored in place of the key: its SHA-256, 32 bytes.

    Slow, salted hashes protect passwords that people choose. Nobody guesses 256 random bits; and
    each request checks a key, so the check must be cheap.
    """
    return sha256(secret.encode()).digest()
