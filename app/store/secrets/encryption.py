"""Encrypt credentials for one field of one row, with rotatable keys.

A sealed value is `version (1) | key id (8) | nonce (12) | ciphertext and tag`, lengths in bytes.
The associated data binds version, key id, row and field, and in version 2 the destination: the
value does not open in another row or field, nor for another destination (invariant 9).
"""

import base64
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.domain.errors import SealError
from app.domain.secret_keys import KEY_BYTES
from app.domain.types import SealedContent

UNBOUND: Final = b"\x01"
BOUND: Final = b"\x02"
VERSION_BYTES: Final = 1
KEY_ID_BYTES: Final = 8
# Random nonces of 96 bits: one key may seal 2**32 values (NIST SP 800-38D section 8.3).
NONCE_BYTES: Final = 12
HEAD_BYTES: Final = VERSION_BYTES + KEY_ID_BYTES
# The field of a message's own key.
CONTENT_KEY: Final = "content_key"

# Where a secret is sent and how that is protected, by the API's names of the settings.
Destination = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SealContext:
    """What a sealed value is bound to; `destination` is None if it is never sent."""

    row: str
    field: str
    destination: Destination | None

    @property
    def version(self) -> bytes:
        """The version of a value sealed in this context."""
        return UNBOUND if self.destination is None else BOUND

    def associated_data(self, head: bytes) -> bytes:
        parts = [head, self.row.encode(), self.field.encode()]
        if self.destination is not None:
            parts.append(json.dumps(self.destination, sort_keys=True).encode())
        return b"\0".join(parts)


# `Vault.open`, for code that never seals.
OpenSealed = Callable[[bytes, SealContext], str]


class Vault:
    """Seals under the newest key, opens under any key.

    Raises SealError without keys.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise SealError("Encryption needs a key; set HELOISE_SECRET_KEYS.")
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._newest = _key_id(keys[0])

    def seal(self, text: str, context: SealContext) -> bytes:
        """Encrypt a text for this context."""
        head, nonce = context.version + self._newest, os.urandom(NONCE_BYTES)
        cipher = self._ciphers[self._newest]
        return head + nonce + cipher.encrypt(nonce, text.encode(), context.associated_data(head))

    def open(self, sealed: bytes, context: SealContext) -> str:
        """Decrypt a text that was sealed for this context; raise SealError."""
        head, nonce = sealed[:HEAD_BYTES], sealed[HEAD_BYTES : HEAD_BYTES + NONCE_BYTES]
        cipher = self._ciphers.get(head[VERSION_BYTES:])
        if cipher is None:
            raise SealError(
                f"HELOISE_SECRET_KEYS lacks the key that encrypted the {context.field} of"
                f" {context.row}."
            )
        if not head.startswith(context.version):
            raise SealError(
                f"The {context.field} of {context.row} is not bound to its destination: run"
                " `heloise reseal`, or set it again."
            )
        try:
            plaintext = cipher.decrypt(
                nonce, sealed[HEAD_BYTES + NONCE_BYTES :], context.associated_data(head)
            )
        except (InvalidTag, ValueError):  # ValueError: too short for a nonce
            raise SealError(
                f"The {context.field} of {context.row} cannot be decrypted: it was altered, copied"
                " from elsewhere, or encrypted for another destination."
            ) from None
        return plaintext.decode()

    def seal_content(self, content: bytes, *, row: str) -> SealedContent:
        """Encrypt bytes under a random key, and seal that key.

        Without the key nobody can decrypt any copy of them.
        """
        key, nonce = os.urandom(KEY_BYTES), os.urandom(NONCE_BYTES)
        encrypted = nonce + AESGCM(key).encrypt(nonce, content, row.encode())
        sealed = self.seal(base64.b64encode(key).decode(), content_key(row))
        return SealedContent(encrypted, sealed)

    def open_content(self, sealed: SealedContent, *, row: str) -> bytes:
        """Decrypt the bytes of this row; raise SealError."""
        key = base64.b64decode(self.open(sealed.key, content_key(row)))
        nonce, encrypted = sealed.content[:NONCE_BYTES], sealed.content[NONCE_BYTES:]
        try:
            return AESGCM(key).decrypt(nonce, encrypted, row.encode())
        except (InvalidTag, ValueError):
            raise SealError(f"The content of {row} cannot be decrypted: it was altered.") from None

    def reseal(self, sealed: bytes, context: SealContext) -> bytes:
        """Seal a value again under the newest key; raise SealError.

        Binds values without a destination to the context's.
        """
        is_bound = not sealed.startswith(UNBOUND)
        old_context = context if is_bound else replace(context, destination=None)
        return self.seal(self.open(sealed, old_context), context)

    def is_current(self, sealed: bytes, context: SealContext) -> bool:
        """Whether a value has the newest key and the current version."""
        return sealed[:HEAD_BYTES] == context.version + self._newest


def content_key(message_id: str) -> SealContext:
    """Build the context of a sensitive message's key."""
    return SealContext(message_id, CONTENT_KEY, None)


def _key_id(key: bytes) -> bytes:
    """Return an identifier that reveals nothing about the key."""
    return sha256(b"heloise vault key id\0" + key).digest()[:KEY_ID_BYTES]
