"""Generate, recognize and hash API keys."""

import secrets
from hashlib import sha256
from typing import Final

PREFIX: Final = "hel_"
RANDOM_BYTES: Final = 32
HINT_CHARACTERS: Final = len(PREFIX) + 4


def generate_secret() -> str:
    """A new key such as `hel_4fQk…`: 256 random bits, fit for a URL and a header."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def build_hint(secret: str) -> str:
    """How the key begins, to tell keys apart: 24 of its 256 bits, which open nothing."""
    return f"{secret[:HINT_CHARACTERS]}…"


def looks_like_key(text: str) -> bool:
    """Whether it begins as a key does, so that its hint says nothing that is not known."""
    return text.startswith(PREFIX) and len(text) > HINT_CHARACTERS


def hash_secret(secret: str) -> bytes:
    """What is stored in place of the key: its SHA-256, 32 bytes.

    A slow, salted hash protects what people choose. Nobody guesses 256 random bits, however fast
    a guess is checked; and a key is checked at every request, which must stay cheap.
    """
    return sha256(secret.encode()).digest()
