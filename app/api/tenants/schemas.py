"""Define the JSON of tenants."""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StrictBool

from app.api.http.fields import EhloName, Line, Patch, RequestModel, ResponseModel
from app.api.http.pagination import Page
from app.api.profiles.fields import Pattern
from app.api.profiles.rate_limit_schemas import RateLimit, RateLimitRead
from app.domain.address.parse import MAX_ADDRESS_CHARACTERS, make_named_address, parse_domain
from app.domain.tenants import quotas as domain_quotas
from app.domain.tenants import retention as domain_retention
from app.domain.types import MAX_RECIPIENTS

EXAMPLE: Final[dict[str, Any]] = {
    "id": "ten_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "slug": "acme",
    "name": "Acme Ltd",
    "ehlo_name": "mail.example.com",
    "rate_limit": None,
    "quota": {
        "requests_per_second": None,
        "messages_per_day": 10000,
        "messages_per_month": None,
        "queued_messages": None,
        "recipients_per_message": None,
        "message_bytes": None,
        "profiles": 10,
        "stored_bytes": None,
    },
    "allowed_from": ["*@example.com"],
    "retention": {
        "content_days": 7,
        "recipient_days": None,
        "attempt_days": None,
        "message_days": 90,
        "event_days": None,
    },
    "redirect_all_to": None,
    "allowed_recipient_domains": [],
    "suppresses_hard_bounces": False,
    "notify": {"profile": "prf_0198c5a2d3f07b6e8a4c1d2e3f405162", "to": ["ops@example.com"]},
    "created_at": "2026-01-15T09:30:00Z",
    "updated_at": "2026-01-15T09:30:00Z",
}
Slug = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="A unique short name: 1 to 63 of a-z, 0-9 and inner hyphens.",
        examples=["acme"],
    ),
]
Name = Annotated[Line, Field(min_length=1, max_length=200, description="A display name.")]
TenantEhlo = Annotated[
    EhloName | None,
    Field(description="The EHLO name of profiles that set none."),
]
TenantRate = Annotated[
    RateLimit | None,
    Field(description="The limit of all profiles together, in addition to their own limits."),
]

AddressText = Annotated[
    Line,
    Field(max_length=MAX_ADDRESS_CHARACTERS),
    AfterValidator(lambda text: make_named_address(text).address),
]
Redirect = Annotated[AddressText, Field(examples=["staging@example.com"])]
Domain = Annotated[Line, Field(max_length=255), AfterValidator(parse_domain)]
MaxMessages = Annotated[int, Field(strict=True, ge=0, le=1_000_000_000)]
MaxBytes = Annotated[int, Field(strict=True, ge=0, le=1_000_000_000_000_000)]


class Quota(RequestModel):
    """Limits of a tenant. Omitted or null: no limit but the service's own."""

    requests_per_second: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="Requests per second and serving process. Beyond it: 429 `too-many-requests`.",
    )
    messages_per_day: MaxMessages | None = Field(
        default=None, description="Messages per day (UTC). Beyond it: 429 `sending-quota-exceeded`."
    )
    messages_per_month: MaxMessages | None = Field(
        default=None,
        description="Messages per month (UTC). Beyond it: 429 `sending-quota-exceeded`.",
    )
    queued_messages: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] | None = Field(
        default=None, description="Unfinished messages. Beyond it: 429 `queue-full`."
    )
    recipients_per_message: Annotated[int, Field(strict=True, ge=1, le=MAX_RECIPIENTS)] | None = (
        Field(
            default=None,
            description="Recipients in `to`, `cc` and `bcc`. Beyond it: 403 `quota-exceeded`.",
        )
    )
    message_bytes: Annotated[int, Field(strict=True, ge=1024, le=157_286_400)] | None = Field(
        default=None,
        description="The size of a message on the wire. Beyond it: 413 `message-too-large`.",
    )
    profiles: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] | None = Field(
        default=None, description="The number of profiles. Beyond it: 403 `quota-exceeded`."
    )
    stored_bytes: MaxBytes | None = Field(
        default=None,
        description="The size of all stored messages. Beyond it: 403 `quota-exceeded`.",
    )

    def to_quota(self) -> domain_quotas.Quota:
        return domain_quotas.Quota(**self.model_dump())


class QuotaRead(ResponseModel):
    """Limits of a tenant. Null: no limit but the service's own."""

    requests_per_second: int | None = None
    messages_per_day: int | None = None
    messages_per_month: int | None = None
    queued_messages: int | None = None
    recipients_per_message: int | None = None
    message_bytes: int | None = None
    profiles: int | None = None
    stored_bytes: int | None = None


TenantQuota = Annotated[
    Quota,
    Field(
        description="What the tenant may use. PATCH replaces the whole object: it removes"
        " limits that you leave out."
    ),
]
TenantFrom = Annotated[
    list[Pattern],
    Field(
        max_length=100,
        description="Sender addresses that the tenant may use, within those that each profile"
        " allows: `user@example.com`, `*@example.com` or `*@*.example.com`. Empty: any.",
    ),
]


Days = Annotated[int, Field(strict=True, ge=1, le=36_500)]


class Retention(RequestModel):
    """Days from acceptance. Omitted or null: the service's setting.

    Heloise deletes nothing of an unfinished message; it waits until the message is finished.
    """

    content_days: Days | None = Field(
        default=None,
        description="Days to keep the content and subject. Default:"
        " HELOISE_CONTENT_RETENTION_DAYS.",
    )
    recipient_days: Days | None = Field(
        default=None,
        description="Days to keep recipients' addresses; the content goes with them. Default:"
        " HELOISE_RECIPIENT_RETENTION_DAYS.",
    )
    attempt_days: Days | None = Field(
        default=None, description="Days to keep attempts. Default: HELOISE_ATTEMPT_RETENTION_DAYS."
    )
    message_days: Days | None = Field(
        default=None,
        description="Days to keep the message and all of these. Default:"
        " HELOISE_MESSAGE_RETENTION_DAYS.",
    )
    event_days: Days | None = Field(
        default=None,
        description="Days to keep events and webhook deliveries. Default:"
        " HELOISE_EVENT_RETENTION_DAYS.",
    )

    def to_retention(self) -> domain_retention.Retention:
        return domain_retention.Retention(**self.model_dump())


class RetentionRead(ResponseModel):
    """Days from acceptance. Null: the service's setting."""

    content_days: int | None = None
    recipient_days: int | None = None
    attempt_days: int | None = None
    message_days: int | None = None
    event_days: int | None = None


TenantRetention = Annotated[
    Retention,
    Field(
        description="Retention periods. PATCH replaces the whole object: values that"
        " you leave out return to the default."
    ),
]
TenantRedirect = Annotated[
    Redirect | None,
    Field(
        description="For test tenants: the address that receives all messages. If"
        " `allowed_recipient_domains` is set, it receives only the messages to other domains."
        " Applies to waiting messages, too."
    ),
]
TenantDomains = Annotated[
    list[Domain],
    Field(
        max_length=100,
        description="Recipient domains that the tenant sends to, such as `example.com` or"
        " `*.example.com`. Heloise refuses others, or sends them to `redirect_all_to`. Empty: any.",
    ),
]


TenantSuppresses = Annotated[
    StrictBool,
    Field(
        description="Whether Heloise suppresses a recipient that a server does not know (RCPT"
        " refused with 5.1.1, 5.1.6, 5.1.10 or 5.2.1), with the reason `hard_bounce`."
    ),
]


class Notify(RequestModel):
    """Who gets mail when a profile fails and when it recovers."""

    profile: Annotated[
        Line,
        Field(
            max_length=100,
            description="The profile that sends the mail, by name or id, from its `default_from`."
            " If it is deleted, or is the one that fails, Heloise uses its `fallback_profile`, or"
            " else the tenant's default profile; never the one that fails.",
            examples=["alerts"],
        ),
    ]
    to: Annotated[
        list[AddressText],
        Field(min_length=1, max_length=10, examples=[["ops@example.com"]]),
    ]


class NotifyRead(ResponseModel):
    """Who gets mail when a profile fails and when it recovers."""

    profile: str = Field(description="The id of the profile that sends the mail.")
    to: list[str]


TenantNotify = Annotated[
    Notify | None,
    Field(
        description="Who gets mail when a profile of the tenant fails and when it recovers, with"
        " the server's reply and what to do. Each profile causes at most one such pair per hour."
        " Null: nobody."
    ),
]


class TenantCreate(RequestModel):
    """A new tenant."""

    slug: Slug
    name: Name | None = Field(default=None, description="A display name. Default: the slug.")
    ehlo_name: TenantEhlo = None
    rate_limit: TenantRate = None
    quota: TenantQuota = Field(default_factory=Quota)
    allowed_from: TenantFrom = Field(default_factory=list)
    retention: TenantRetention = Field(default_factory=Retention)
    redirect_all_to: TenantRedirect = None
    allowed_recipient_domains: TenantDomains = Field(default_factory=list)
    suppresses_hard_bounces: TenantSuppresses = False


class TenantUpdate(Patch, of=TenantCreate):
    """Changes to a tenant. Omitted fields stay."""

    rate_limit: TenantRate = None
    quota: TenantQuota | None = None
    retention: TenantRetention | None = None
    notify: TenantNotify = None


class TenantRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """A tenant."""

    id: str
    slug: str
    name: str
    ehlo_name: str | None
    rate_limit: RateLimitRead | None
    quota: QuotaRead
    allowed_from: list[str]
    retention: RetentionRead
    redirect_all_to: str | None
    allowed_recipient_domains: list[str]
    suppresses_hard_bounces: bool
    notify: NotifyRead | None = Field(
        description="Who gets mail when a profile fails and when it recovers."
    )
    created_at: datetime
    updated_at: datetime


class TenantPage(Page[TenantRead]):
    """A page of tenants, oldest first."""
