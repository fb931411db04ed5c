"""Sealed credentials: encrypted for one field of one row, under keys that can be rotated.

A sealed value is `version (1) | key id (8) | nonce (12) | ciphertext and tag`, lengths in bytes.
The associated data binds version, key id, row and field, so a value copied to another row or
field does not open (invariant 9).
"""

import base64
import os
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.domain.errors import SealError
from app.domain.secret_keys import KEY_BYTES
from app.domain.types import SealedContent

VERSION: Final = b"\x01"
KEY_ID_BYTES: Final = 8
# Random nonces of 96 bits: one key may seal 2**32 values (NIST SP 800-38D section 8.3).
NONCE_BYTES: Final = 12
HEAD_BYTES: Final = len(VERSION) + KEY_ID_BYTES
# The field that a message's own key is bound to.
CONTENT_KEY: Final = "content_key"


class Vault:
    """Seals under the newest of its keys, opens under any of them.

    Raises SealError where it is given no key.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise SealError("There is no key to seal with; set HELOISE_SECRET_KEYS.")
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._newest = _key_id(keys[0])

    def seal(self, text: str, *, row: str, field: str) -> bytes:
        """The text, encrypted for this field of this row alone."""
        head, nonce = VERSION + self._newest, os.urandom(NONCE_BYTES)
        cipher = self._ciphers[self._newest]
        return head + nonce + cipher.encrypt(nonce, text.encode(), _bound(head, row, field))

    def open(self, sealed: bytes, *, row: str, field: str) -> str:
        """The text that was sealed for this field of this row; raises SealError."""
        head, nonce = sealed[:HEAD_BYTES], sealed[HEAD_BYTES : HEAD_BYTES + NONCE_BYTES]
        cipher = self._ciphers.get(head[len(VERSION) :])
        if not head.startswith(VERSION) or cipher is None:
            raise SealError(f"The {field} of {row} was sealed under a key that is not here.")
        try:
            opened = cipher.decrypt(
                nonce, sealed[HEAD_BYTES + NONCE_BYTES :], _bound(head, row, field)
            )
        except (InvalidTag, ValueError):  # ValueError: too short to hold a nonce
            raise SealError(
                f"The {field} of {row} does not open: it was altered, or copied from elsewhere."
            ) from None
        return opened.decode()

    def seal_content(self, content: bytes, *, row: str) -> SealedContent:
        """The bytes under a random key of their own, which is sealed as any other secret.

        Once that key is gone nobody opens them, whatever else of them is left somewhere.
        """
        key, nonce = os.urandom(KEY_BYTES), os.urandom(NONCE_BYTES)
        encrypted = nonce + AESGCM(key).encrypt(nonce, content, row.encode())
        sealed = self.seal(base64.b64encode(key).decode(), row=row, field=CONTENT_KEY)
        return SealedContent(encrypted, sealed)

    def open_content(self, sealed: SealedContent, *, row: str) -> bytes:
        """The bytes that were sealed for this row; raises SealError."""
        key = base64.b64decode(self.open(sealed.key, row=row, field=CONTENT_KEY))
        nonce, encrypted = sealed.content[:NONCE_BYTES], sealed.content[NONCE_BYTES:]
        try:
            return AESGCM(key).decrypt(nonce, encrypted, row.encode())
        except (InvalidTag, ValueError):
            raise SealError(f"The content of {row} does not open: it was altered.") from None

    def resealed(self, sealed: bytes, *, row: str, field: str) -> bytes:
        """The same under the newest key; raises SealError."""
        return self.seal(self.open(sealed, row=row, field=field), row=row, field=field)

    def is_current(self, sealed: bytes) -> bool:
        """Whether it is sealed under the newest key, in the form of today."""
        return sealed[:HEAD_BYTES] == VERSION + self._newest


def _key_id(key: bytes) -> bytes:
    """A name for the key that says nothing about it."""
    return sha256(b"heloise vault key id\0" + key).digest()[:KEY_ID_BYTES]


def _bound(head: bytes, row: str, field: str) -> bytes:
    return b"\0".join((head, row.encode(), field.encode()))
