"""Define the JSON of webhooks."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, SecretStr, StrictBool

from app.api.http.fields import Instant, Line, RequestModel, ResponseModel, Secret, Text
from app.api.http.pagination import Page, Paging
from app.api.messages.schemas import Tag
from app.domain.events import EventType, find_matching_types
from app.domain.urls import parse_url
from app.domain.webhooks import DeliveryStatus, Webhook, WebhookFormat

MAX_REPLAYED: Final = 1000
WEBHOOK: Final = "whk_0198c5a2d3f07b6e8a4c1d2e3f405162"
EVENT: Final = "evt_0198c5a2d3f07b6e8a4c1d2e3f405162"
SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw4cV0bJt1nXk="  # noqa: S105 - made up

# Standard Webhooks specification 1.0.
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what a secret begins with
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64

EXAMPLE: Final[dict[str, Any]] = {
    "id": WEBHOOK,
    "name": "orders",
    "url": "https://orders.example.com/hooks/mail",
    "events": ["recipient.bounced", "message.*"],
    "profiles": [],
    "tags": [],
    "first_deferral_only": False,
    "ordered": False,
    "format": "heloise",
    "enabled": True,
    "disabled_at": None,
    "disabled_reason": None,
    "failing_since": None,
    "last_error": None,
    "last_error_at": None,
    "waiting_since": None,
    "previous_secret_expires_at": None,
    "created_at": "2026-01-15T09:30:00Z",
    "updated_at": "2026-01-15T09:30:00Z",
}
CREATE: Final[dict[str, Any]] = {
    "some": {
        "summary": "Some events",
        "value": {
            "name": "orders",
            "url": "https://orders.example.com/hooks/mail",
            "events": ["recipient.bounced", "message.*"],
        },
    },
    "first": {
        "summary": "No repeated deferrals",
        "value": {
            "name": "desk",
            "url": "https://desk.example.com/hooks/mail",
            "events": ["recipient.*"],
            "first_deferral_only": True,
        },
    },
    "all": {
        "summary": "All events, in order per message",
        "value": {"name": "log", "url": "https://log.example.com/mail", "ordered": True},
    },
}
UPDATE: Final[dict[str, Any]] = {
    "on": {"summary": "Enable it again", "value": {"enabled": True}},
    "more": {"summary": "Other events", "value": {"events": ["recipient.*"]}},
    "url": {
        "summary": "Another URL",
        "value": {"url": "https://new.example.com/hooks/mail", "secret": SECRET},
    },
}
ROTATE: Final[dict[str, Any]] = {
    "hour": {"summary": "An hour to deploy it", "value": {"overlap_seconds": 3600}}
}
REPLAY: Final[dict[str, Any]] = {
    "failed": {
        "summary": "Events that failed since a time",
        "value": {"status": "failed", "created_after": "2026-01-15T09:00:00Z"},
    },
    "one": {"summary": "One event", "value": {"events": [EVENT]}},
}


def _check_pattern(pattern: str) -> str:
    find_matching_types([pattern])
    return pattern


def _check_secret(secret: SecretStr) -> SecretStr:
    prefix, _, encoded = secret.get_secret_value().partition("_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        key = b""
    is_usable = f"{prefix}_" == SECRET_PREFIX and MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES
    if not is_usable:
        raise ValueError(f"write {SECRET_PREFIX} and 24 to 64 random bytes in base64")
    return secret


Pattern = Annotated[Line, Field(max_length=64), AfterValidator(_check_pattern)]
Name = Annotated[Line, Field(min_length=1, max_length=100, examples=["orders"])]
Url = Annotated[
    Line,
    Field(
        max_length=2000,
        description="The URL for events: https:// without a port.",
        examples=["https://orders.example.com/hooks/mail"],
    ),
    AfterValidator(parse_url),
]
WebhookSecret = Annotated[
    Secret,
    Field(
        description="The signing secret: the current one or a new one. It replaces all previous"
        " secrets at once. Required to change `url`. Write-only."
    ),
    AfterValidator(_check_secret),
]
Patterns = Annotated[
    list[Pattern],
    Field(
        max_length=30,
        description="Event types. `*` matches any: `recipient.*`. Empty: all.",
    ),
]
Profiles = Annotated[
    list[Text],
    Field(max_length=100, description="Only events of these profiles, by id or name. Empty: all."),
]
Tags = Annotated[
    list[Tag],
    Field(max_length=20, description="Only events of messages with one of these tags. Empty: all."),
]
FirstDeferralOnly = Annotated[
    StrictBool,
    Field(
        description="Whether the webhook gets only the first `recipient.deferred` of each recipient"
        " of a message. All other events are posted as usual."
    ),
]
Ordered = Annotated[
    StrictBool,
    Field(
        description="Whether an event waits until the previous one with the same `ordering_key` is"
        " delivered or has failed."
    ),
]
Format = Annotated[
    WebhookFormat,
    Field(
        description="The form of the posts: `heloise`, or `resend` for Resend's event bodies and"
        " `svix-` headers. Events that Resend has no name for are not posted in its form."
    ),
]


class WebhookCreate(RequestModel):
    """A URL and the events to post to it."""

    name: Name
    url: Url
    events: Patterns = Field(default_factory=list)
    profiles: Profiles = Field(default_factory=list)
    tags: Tags = Field(default_factory=list)
    first_deferral_only: FirstDeferralOnly = False
    ordered: Ordered = False
    format: Format = WebhookFormat.HELOISE
    enabled: StrictBool = Field(
        default=True, description="Whether Heloise posts events to the webhook."
    )


class WebhookUpdate(RequestModel):
    """Changes to a webhook. Omitted fields stay."""

    name: Name | None = None
    url: Url | None = None
    secret: WebhookSecret | None = None
    events: Patterns | None = None
    profiles: Profiles | None = None
    tags: Tags | None = None
    first_deferral_only: FirstDeferralOnly | None = None
    ordered: Ordered | None = None
    format: Format | None = None
    enabled: StrictBool | None = Field(
        default=None,
        description="`true` enables the webhook and posts the events that waited. `false` makes"
        " events wait.",
    )


class WebhookRotate(RequestModel):
    """Options of a rotation."""

    overlap_seconds: int = Field(
        default=86_400,
        ge=0,
        le=604_800,
        strict=True,
        description="How long Heloise also signs with the previous secret.",
    )


class WebhookReplay(RequestModel):
    """The events to post again: by id, or by filters that all must match."""

    events: list[Text] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_REPLAYED,
        description="The events' ids. The webhook's filters do not apply.",
        examples=[[EVENT]],
    )
    status: DeliveryStatus | None = Field(
        default=None,
        description="Only deliveries with this status. Default: all events that"
        " match the webhook's filters.",
    )
    created_after: Instant | None = Field(default=None, description="At this time or later.")
    created_before: Instant | None = Field(
        default=None, description="Only events created before this time."
    )
    cursor: Text | None = Field(
        default=None, max_length=64, description="The `next_cursor` of the previous response."
    )


class WebhookReplayed(ResponseModel):
    """The result of a replay."""

    replayed: int
    next_cursor: str | None = Field(
        description="Repeat the request with this as `cursor`. Null when nothing is left."
    )


class WebhookRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """A webhook, without its secret."""

    id: str
    name: str
    url: str
    events: list[str]
    profiles: list[str] = Field(description="Ids of the profiles.")
    tags: list[str]
    first_deferral_only: bool
    ordered: bool
    format: WebhookFormat
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None = Field(description="Why the webhook is disabled.")
    failing_since: datetime | None = Field(
        description="Since when all deliveries have failed. After five days, Heloise disables the"
        " webhook."
    )
    last_error: str | None = Field(
        description="Why the last failed post failed, in at most 300 characters. Stays when later"
        " posts succeed. Null after a change of `url`, and once Heloise has deleted the event."
    )
    last_error_at: datetime | None
    waiting_since: datetime | None = Field(
        description="Since when the event that Heloise posts next has been waiting. A replayed"
        " event waits since its replay. Null: no event waits."
    )
    previous_secret_expires_at: datetime | None = Field(
        description="Until then, Heloise also signs with the previous secret."
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, webhook: Webhook, **more: str) -> Self:
        return cls.build(
            webhook,
            webhook.event_filter,
            events=webhook.event_filter.types,
            ordered=webhook.is_ordered,
            enabled=webhook.disabled_at is None,
            previous_secret_expires_at=webhook.former_secret_until,
            **more,
        )


class WebhookCreated(WebhookRead, json_schema_extra={"examples": [EXAMPLE | {"secret": SECRET}]}):
    """A webhook and its secret."""

    secret: str = Field(description="The signing secret (Standard Webhooks), shown only this once.")


class WebhookPage(Page[WebhookRead]):
    """A page of webhooks, newest first."""


class DeliveryQuery(Paging):
    """Filters. A delivery must match all of them."""

    status: list[DeliveryStatus] = Field(
        default_factory=list,
        max_length=10,
        description="Only deliveries with one of these statuses.",
    )
    event: Text | None = Field(
        default=None, max_length=64, description="Only deliveries of this event."
    )


class DeliveryLine(ResponseModel):
    """A post of the event and its response."""

    started_at: datetime
    duration_ms: float
    status_code: int | None = Field(description="Null if there was no response.")
    response: str | None = Field(description="The first 1000 characters of the response.")
    error: str | None


class DeliveryRead(ResponseModel):
    """An event for a webhook and all its posts."""

    id: str
    webhook_id: str
    event_id: str
    event_type: EventType
    status: DeliveryStatus = Field(
        description="`pending` until a post succeeds or ten posts failed."
    )
    attempts: int = Field(description="The number of posts since the last replay.")
    next_attempt_at: datetime | None
    created_at: datetime = Field(
        description="When Heloise queued the event for this webhook. A replay sets it anew."
    )
    finished_at: datetime | None
    log: list[DeliveryLine] = Field(description="Oldest first.")


class DeliveryPage(Page[DeliveryRead]):
    """A page of deliveries, newest first."""
