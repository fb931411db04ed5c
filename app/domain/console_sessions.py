"""Define sessions of the console, and generate and recognize their tokens."""

import secrets
from datetime import datetime, timedelta
from typing import Final

from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.types import Scope

RANDOM_BYTES: Final = 32
# `last_used_at` is written at most this often.
USE_INTERVAL: Final = timedelta(minutes=1)


@frozen_dataclass
class ConsoleSession:
    """A session of the console; its token is stored only as a hash.

    `key_hash` is that of the key that signed in, an admin key or a tenant's; None after single
    sign-on, which sets `issuer`, the provider, `subject`, its id of the person, and `scopes`.
    `tenant_id` is None for an admin. `name` is that of the key or person, `source` the IP address
    that signed in.
    """

    id: str
    tenant_id: str | None
    name: str
    key_hash: bytes | None
    issuer: str | None
    subject: str | None
    scopes: frozenset[Scope] | None
    source: str | None
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime

    def is_valid(self, now: datetime, idle_time: timedelta) -> bool:
        """Whether the session has neither expired nor been idle for too long."""
        return now < self.expires_at and now < self.last_used_at + idle_time + USE_INTERVAL


def generate_token() -> str:
    """Generate the token of a session: 256 random bits, safe in cookies."""
    return secrets.token_urlsafe(RANDOM_BYTES)
