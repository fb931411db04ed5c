"""Define the JSON of provider webhooks."""

from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field

from app.api.api_keys.schemas import Bound, Network
from app.api.http.fields import Line, Patch, RequestModel, ResponseModel, Secret, Text
from app.api.http.pagination import Page
from app.domain.inbound.provider import Provider, ProviderWebhook

WEBHOOK: Final = "pwh_0198c5a2d3f07b6e8a4c1d2e3f405162"
MAX_NETWORKS: Final = 100
EXAMPLE: Final[dict[str, Any]] = {
    "id": WEBHOOK,
    "name": "ses",
    "provider": "ses",
    "topic_arn": "arn:aws:sns:eu-west-1:123456789012:bounces",
    "public_key": None,
    "has_secret": False,
    "networks": [],
    "previous_token_expires_at": None,
    "received_at": "2026-01-15T10:00:00Z",
    "events": 12,
    "unmatched": 1,
    "ignored": 3,
    "created_at": "2026-01-15T09:30:00Z",
    "updated_at": "2026-01-15T09:30:00Z",
}
CREATED_EXAMPLE: Final = EXAMPLE | {
    "received_at": None,
    "events": 0,
    "unmatched": 0,
    "ignored": 0,
    "path": "/inbound/ses/<the token>",
}
CREATE: Final[dict[str, Any]] = {
    "ses": {
        "summary": "Amazon SES",
        "value": {
            "name": "ses",
            "provider": "ses",
            "topic_arn": "arn:aws:sns:eu-west-1:123456789012:bounces",
        },
    },
    "mailgun": {
        "summary": "Mailgun",
        "value": {
            "name": "mailgun",
            "provider": "mailgun",
            "secret": "<the HTTP webhook signing key>",
        },
    },
    "postmark": {
        "summary": "Postmark, with basic authentication",
        "value": {"name": "postmark", "provider": "postmark", "secret": "<a password>"},
    },
}
UPDATE: Final[dict[str, Any]] = {
    "name": {"summary": "Another name", "value": {"name": "shop"}},
    "networks": {"summary": "Any network", "value": {"networks": []}},
}
ROTATE: Final[dict[str, Any]] = {
    "hour": {"summary": "An hour to change the URL", "value": {"overlap_seconds": 3600}}
}


def _strip(text: str) -> str:
    return text.strip()


Name = Annotated[Line, Field(min_length=1, max_length=100, examples=["ses"])]
ProviderSecret = Annotated[
    Secret,
    Field(
        min_length=1,
        max_length=1000,
        description="Mailgun: the HTTP webhook signing key (required). Postmark and Brevo: the"
        " password of basic authentication, or the bearer token. Write-only: stored encrypted,"
        " never returned.",
    ),
]
PublicKey = Annotated[
    Text,
    AfterValidator(_strip),
    Field(max_length=2000, description="SendGrid (required): the verification key."),
]
TopicArn = Annotated[
    Line,
    Field(max_length=512, description="SES (required): the ARN of the SNS topic."),
]


class ProviderWebhookCreate(RequestModel):
    """A URL for the events of an email provider."""

    name: Name
    provider: Provider
    secret: ProviderSecret | None = None
    public_key: PublicKey | None = None
    topic_arn: TopicArn | None = None
    networks: Annotated[list[Network], Bound] = Field(
        default_factory=list,
        max_length=MAX_NETWORKS,
        description="The networks from which posts may come: `192.0.2.0/24`. Default: any.",
    )


class ProviderWebhookUpdate(Patch, of=ProviderWebhookCreate):
    """Changes to a provider webhook. Omitted fields stay."""

    provider: Provider | None = None
    secret: ProviderSecret | None = None


class ProviderWebhookRotate(RequestModel):
    """Options of a rotation."""

    overlap_seconds: int = Field(
        default=86_400,
        ge=0,
        le=604_800,
        strict=True,
        description="How long the previous URL still works.",
    )


class ProviderWebhookRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """A provider webhook, without its token and its secret."""

    id: str
    name: str
    provider: Provider
    topic_arn: str | None
    public_key: str | None
    has_secret: bool
    networks: list[str]
    previous_token_expires_at: datetime | None = Field(
        description="Until then, the previous URL works too."
    )
    received_at: datetime | None = Field(description="When the provider last posted.")
    events: int = Field(description="How many events were reports.")
    unmatched: int = Field(
        description="How many of them name no message of the tenant, or a message that is deleted."
    )
    ignored: int = Field(description="How many events say nothing about delivery, such as clicks.")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, webhook: ProviderWebhook, **more: str) -> Self:
        return cls.build(
            webhook,
            networks=list(webhook.networks),
            previous_token_expires_at=webhook.former_token_until,
            **more,
        )


class ProviderWebhookCreated(
    ProviderWebhookRead, json_schema_extra={"examples": [CREATED_EXAMPLE]}
):
    """A provider webhook and its path."""

    path: str = Field(
        description="The path for the provider's console, behind the public address of this"
        " service. It contains the token, and is shown only this once."
    )


class ProviderWebhookPage(Page[ProviderWebhookRead]):
    """A page of provider webhooks, newest first."""
