"""Define token requests and granted tokens."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from app.domain.types import OAuth

MIN_REDACTED_CHARACTERS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """The parameters of a token request. Its `repr` shows no secret."""

    oauth: OAuth
    username: str
    client_secret: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that no text may quote."""
        secrets = (self.client_secret, self.private_key, self.refresh_token)
        return tuple(
            secret for secret in secrets if secret and len(secret) >= MIN_REDACTED_CHARACTERS
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedToken:
    """An access token, its expiry, and a new refresh token if the server rotated it."""

    access_token: str = field(repr=False)
    expires_at: datetime
    refresh_token: str | None = field(default=None, repr=False)
