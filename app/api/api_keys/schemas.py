"""Define the JSON of API keys."""

import ipaddress
from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field

from app.api.http.fields import Instant, Line, RequestModel, ResponseModel, Text
from app.api.http.pagination import Page
from app.api.profiles.fields import Pattern
from app.domain.types import ApiKey, Scope

MAX_BOUND: Final = 100
MAX_OVERLAP_SECONDS: Final = 2_592_000
EXAMPLE: Final[dict[str, Any]] = {
    "id": "key_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "name": "billing service",
    "hint": "hel_4fQk…",
    "scopes": ["messages:read", "messages:send"],
    "profiles": ["prf_0198c5a2d3f07b6e8a4c1d2e3f405162"],
    "allowed_from": ["billing@example.com"],
    "networks": ["192.0.2.0/24"],
    "created_at": "2026-01-15T09:30:00Z",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": "2026-01-15T10:00:00Z",
}
EXAMPLE_CREATED: Final = EXAMPLE | {"last_used_at": None, "key": "hel_4fQk…"}
CREATE_EXAMPLES: Final[dict[str, Any]] = {
    "sender": {
        "summary": "A service that sends and reads its messages",
        "value": {"name": "billing service", "scopes": ["messages:send", "messages:read"]},
    },
    "manager": {
        "summary": "A tool that manages profiles for a limited time",
        "value": {
            "name": "provisioning",
            "scopes": ["profiles:manage"],
            "expires_at": "2100-01-01T00:00:00Z",
        },
    },
    "bound": {
        "summary": "A shop that sends as one address from one network",
        "value": {
            "name": "shop",
            "scopes": ["messages:send"],
            "allowed_from": ["shop@example.com"],
            "networks": ["192.0.2.0/24"],
        },
    },
}


def _sort_scopes(scopes: list[Scope]) -> list[Scope]:
    return sorted(set(scopes))


def _parse_network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text.strip()))
    except ValueError as error:
        raise ValueError(f"{error}; write 192.0.2.0/24, 192.0.2.1 or 2001:db8::/32") from None


def _drop_repeats(items: list[str]) -> list[str]:
    return list(dict.fromkeys(items))


Network = Annotated[Line, Field(max_length=50), AfterValidator(_parse_network)]
Named = Annotated[Text, Field(min_length=1, max_length=100)]
Bound = AfterValidator(_drop_repeats)


class KeyCreate(RequestModel):
    """A new key."""

    name: Annotated[Line, Field(min_length=1, max_length=200)] = Field(
        description="What the key is for."
    )
    scopes: Annotated[list[Scope], AfterValidator(_sort_scopes)] = Field(
        min_length=1,
        description="What the key may do. `profiles:manage` includes `profiles:read`, and"
        " `messages:manage` includes `messages:read`.",
    )
    profiles: Annotated[list[Named], Bound] = Field(
        default_factory=list,
        max_length=MAX_BOUND,
        description="The profiles that the key may use, by id or name. It cannot reach other"
        " profiles and their messages. Default: all.",
    )
    allowed_from: Annotated[list[Pattern], Bound] = Field(
        default_factory=list,
        max_length=MAX_BOUND,
        description="Sender addresses that the key may use, within those that the profile allows:"
        " `user@example.com`, `*@example.com` or `*@*.example.com`. Default: any.",
    )
    networks: Annotated[list[Network], Bound] = Field(
        default_factory=list,
        max_length=MAX_BOUND,
        description="The networks from which the key works: `192.0.2.0/24`, `192.0.2.1`,"
        " `2001:db8::/32`. Default: any.",
    )
    expires_at: Instant | None = Field(
        default=None, description="When the key expires. Default: never."
    )


class KeyRotate(RequestModel):
    """Options of a rotation."""

    overlap_seconds: int = Field(
        default=86_400,
        strict=True,
        ge=0,
        le=MAX_OVERLAP_SECONDS,
        description="How long the old key keeps working. 0 revokes it at once.",
    )
    expires_at: Instant | None = Field(
        default=None, description="When the new key expires. Default: when the old key did."
    )


class KeyRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """A key without the key itself."""

    id: str
    name: str
    hint: str = Field(description="The key's first characters, by which you can recognize it.")
    scopes: list[Scope]
    profiles: list[str] = Field(
        description="Ids of the profiles that the key is bound to. Empty: all profiles."
    )
    allowed_from: list[str]
    networks: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="Updated from time to time, not at each use.")

    @classmethod
    def of(cls, api_key: ApiKey, **secret: str) -> Self:
        return cls.build(api_key, scopes=sorted(api_key.scopes), **secret)


class KeyCreated(KeyRead, json_schema_extra={"examples": [EXAMPLE_CREATED]}):
    """A new key, including the key itself."""

    key: str = Field(
        description="The key. Store it now: Heloise keeps only its hash and does not show it again."
    )


class KeyPage(Page[KeyRead]):
    """A page of keys, oldest first."""
