"""Define the frozen values that all layers share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from app.domain.dsn_request import DsnRequest
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.tenants.notify import Notify
from app.domain.tenants.quotas import NO_QUOTA, Quota
from app.domain.tenants.retention import KEEP_FOREVER, Retention
from app.domain.tenants.routing import RecipientRule


class TlsMode(StrEnum):
    """The TLS mode. All but `opportunistic` and `none` verify the certificate."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    OPPORTUNISTIC = "opportunistic"
    NONE = "none"


class AuthMechanism(StrEnum):
    """How Heloise logs in: by a SASL mechanism (RFC 4954).

    `oauth2` is OAUTHBEARER (RFC 7628), or XOAUTH2 if the server offers only that. The others are
    SCRAM-SHA-256 (RFC 7677), CRAM-MD5 (RFC 2195), PLAIN (RFC 4616) and LOGIN (an Internet-Draft).
    """

    AUTO = "auto"
    OAUTH2 = "oauth2"
    SCRAM_SHA_256 = "scram-sha-256"
    PLAIN = "plain"
    LOGIN = "login"
    CRAM_MD5 = "cram-md5"
    NONE = "none"


class OAuthGrant(StrEnum):
    """OAuth 2.0 grants: RFC 6749 sections 4.4 and 6, RFC 7523 section 2.1."""

    CLIENT_CREDENTIALS = "client_credentials"
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - the grant's name
    JWT_BEARER = "jwt_bearer"


class Transport(StrEnum):
    """Where messages go: to the SMTP server, or to a sandbox that sends nothing."""

    SMTP = "smtp"
    SANDBOX = "sandbox"


class RecipientKind(StrEnum):
    """The header that names the recipient. `bcc` recipients are in no header."""

    TO = "to"
    CC = "cc"
    BCC = "bcc"


class RecipientStatus(StrEnum):
    """The recipient's status. `sending`: a worker is sending the message."""

    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    SENT = "sent"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"
    UNCERTAIN = "uncertain"


class MessageStatus(StrEnum):
    """The message's status, derived from its recipients."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    PARTIALLY_SENT = "partially_sent"
    FAILED = "failed"
    CANCELLED = "cancelled"
    HELD = "held"


class Guarantee(StrEnum):
    """What happens if the outcome of a transmission is unknown."""

    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


class Priority(StrEnum):
    """Which of a profile's messages go first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class MessageSource(StrEnum):
    """How a message reached Heloise."""

    API = "api"
    SMTP = "smtp"
    RESEND = "resend"
    CLI = "cli"
    NOTICE = "notice"  # by Heloise itself: a profile of the tenant fails or recovers


class ProfileState(StrEnum):
    """`paused` by you, `failing` by a fault of the profile, `stalled` by a silent server."""

    ACTIVE = "active"
    PAUSED = "paused"
    FAILING = "failing"
    STALLED = "stalled"


class Scope(StrEnum):
    """What an API key may do."""

    MESSAGES_SEND = "messages:send"
    MESSAGES_READ = "messages:read"
    MESSAGES_MANAGE = "messages:manage"
    PROFILES_READ = "profiles:read"
    PROFILES_MANAGE = "profiles:manage"
    SUPPRESSIONS_MANAGE = "suppressions:manage"
    TEMPLATES_MANAGE = "templates:manage"
    EVENTS_READ = "events:read"
    WEBHOOKS_MANAGE = "webhooks:manage"
    KEYS_MANAGE = "keys:manage"


IMPLIED_SCOPES: Final[Mapping[Scope, Scope]] = {
    Scope.MESSAGES_READ: Scope.MESSAGES_MANAGE,
    Scope.PROFILES_READ: Scope.PROFILES_MANAGE,
}


class SuppressionReason(StrEnum):
    """Why an address or a pattern is suppressed."""

    MANUAL = "manual"
    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """An address or a pattern that a tenant does not send to, perhaps only with a tag.

    `address` is as `domain.suppressions` normalizes it.
    """

    id: str
    tenant_id: str
    address: str
    tag: str | None
    reason: SuppressionReason
    detail: str | None
    created_at: datetime


@frozen_dataclass
class NamedAddress:
    """An address and its display name: a mailbox in RFC 5322 section 3.4.

    The domain is an A-label. The local part may be in any script, in Unicode's NFC.
    """

    address: str
    name: str = ""

    @property
    def domain(self) -> str:
        """Return the part after the last `@`, in lower case."""
        return self.address.rpartition("@")[2].lower()


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The average number of `messages` or `recipients` per `per_seconds`: a token bucket.

    The bucket holds `burst` permits (by default, as many as go in one period) and refills evenly.
    After a pause up to `burst` may go at once and more follow at the normal rate, so a single
    period can exceed the limit by up to `burst`. Either `messages` or `recipients` is None.
    """

    messages: int | None
    per_seconds: int
    recipients: int | None = None
    burst: int | None = None

    @property
    def amount(self) -> int:
        """The number of permits per period."""
        return self.messages or self.recipients or 0

    @property
    def capacity(self) -> int:
        """The number of permits that the bucket holds."""
        return self.burst or self.amount

    def cost(self, recipients: int) -> int:
        """Return the permits for a message with this many recipients."""
        return 1 if self.recipients is None else recipients


class RampPeriod(StrEnum):
    """How often the limit of a ramp grows."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """A limit on recipients that grows with the age of an identity.

    The first period, which begins at `started_at`, allows `start` recipients; every later period
    allows `factor` times as many as the one before, at most `until`.
    """

    start: int
    factor: float
    every: RampPeriod
    until: int
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """The limits of a profile for recipients whose domain matches a pattern.

    `number` names the destination within its profile; as long as `match` stays, so does it.
    """

    number: int
    match: tuple[str, ...]
    rate_limit: RateLimit | None = None
    max_connections: int | None = None
    max_recipients_per_message: int | None = None
    ramp: Ramp | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """The owner of profiles, keys and messages."""

    id: str
    slug: str
    name: str
    ehlo_name: str | None
    rate_limit: RateLimit | None = None
    quota: Quota = NO_QUOTA
    allowed_from: tuple[str, ...] = ()
    retention: Retention = KEEP_FOREVER
    redirect_all_to: str | None = None
    allowed_recipient_domains: tuple[str, ...] = ()
    suppresses_hard_bounces: bool = False
    notify: Notify | None = None
    created_at: datetime
    updated_at: datetime

    @property
    def recipient_rule(self) -> RecipientRule:
        """The tenant's rule for recipients."""
        return RecipientRule(self.redirect_all_to, self.allowed_recipient_domains)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A tenant's key without its secret, which is stored only as a hash.

    `profiles` (ids), `allowed_from` (patterns of senders) and `networks` (of clients) restrict it;
    empty ones do not.
    """

    id: str
    tenant_id: str
    name: str
    hint: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    profiles: tuple[str, ...] = ()
    allowed_from: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()

    def is_valid(self, now: datetime) -> bool:
        """Whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def has_scope(self, scope: Scope) -> bool:
        """Whether the key has the scope; permission to change implies permission to read."""
        return scope in self.scopes or IMPLIED_SCOPES.get(scope) in self.scopes


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Timeouts in seconds: connecting, replies to commands, and the final dot.

    Timeouts before the final dot are shorter than the 2 to 5 minutes of RFC 5321 section 4.5.3.2:
    they cost at most a connection. The final dot keeps ten minutes (RFC 1047: impatient clients
    send twice).
    """

    connect: float = 30.0
    command: float = 120.0
    data: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When to retry a deferred recipient, in seconds.

    The wait after the n-th failure is random, between nothing and
    `first_seconds * factor ** (n-1)`, at most `cap_seconds`. After `max_age_seconds` a message
    without its own `expires_at` expires; None: the service's setting applies. Heloise sends no more
    to a recipient with `max_unknown_outcomes` transmissions whose outcome is unknown.
    """

    first_seconds: float = 60.0
    factor: float = 2.0
    cap_seconds: float = 14_400.0
    max_age_seconds: int | None = None
    max_unknown_outcomes: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """How to get a profile's access tokens, without secrets.

    `subject` is the user that a `jwt_bearer` grant acts for.
    """

    grant: OAuthGrant
    token_url: str
    client_id: str
    scope: str | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """An SMTP server and how it proves its identity: the destination of a profile's secrets."""

    host: str | None = None
    port: int = 587
    tls: TlsMode = TlsMode.STARTTLS
    tls_ca: str | None = None
    tls_min_version: str = "1.2"
    tls_server_name: str | None = None
    tls_pins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile(SmtpServer):
    """An SMTP identity: where to connect, how, and under which name; no secrets."""

    id: str
    tenant_id: str
    name: str
    is_default: bool = False
    transport: Transport = Transport.SMTP
    client_certificate: str | None = None
    has_client_key: bool = False
    ehlo_name: str | None = None
    source_address: str | None = None
    auth_mechanism: AuthMechanism = AuthMechanism.AUTO
    username: str | None = None
    has_password: bool = False
    allow_plaintext_auth: bool = False
    oauth: OAuth | None = None
    has_oauth_client_secret: bool = False
    has_oauth_private_key: bool = False
    has_oauth_refresh_token: bool = False
    default_from: NamedAddress | None = None
    allowed_from: tuple[str, ...] = ()
    max_connections: int = 10
    max_messages_per_connection: int = 1000
    rate_limit: RateLimit | None = None
    ramp: Ramp | None = None
    destinations: tuple[Destination, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    fallback_profile_id: str | None = None
    fallback_after_seconds: int = 600
    paused_at: datetime | None = None
    revision: int = 1
    created_at: datetime
    updated_at: datetime

    @property
    def has_destination_limits(self) -> bool:
        """Whether limits depend on the recipients, so that Heloise counts them one by one."""
        return bool(self.destinations) or self.ramp is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class EhloRecommendation:
    """The EHLO name that the server accepts, and why it is recommended."""

    name: str
    reason: str
    found_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneHealth:
    """The state of a profile's server; all `None` while it works."""

    failing_since: datetime | None = None
    code: str | None = None
    reason: str | None = None
    next_probe_at: datetime | None = None
    faults: int = 0
    stalled_since: datetime | None = None
    concurrency: int | None = None
    recommendation: EhloRecommendation | None = None


def profile_state(paused_at: datetime | None, health: LaneHealth) -> ProfileState:
    """Return a profile's state; paused comes before failing, since nothing is tried."""
    if paused_at is not None:
        return ProfileState.PAUSED
    if health.failing_since is not None:
        return ProfileState.FAILING
    return ProfileState.ACTIVE if health.stalled_since is None else ProfileState.STALLED


@frozen_dataclass
class RecipientAddress:
    """A recipient as the caller wrote it."""

    named_address: NamedAddress
    kind: RecipientKind


@dataclass(frozen=True, slots=True)
class SealedContent:
    """A message's bytes under a key of their own, and that key, sealed."""

    content: bytes = field(repr=False)
    key: bytes = field(repr=False)


@frozen_dataclass
class Origin:
    """Who sent a message: the way in, and the id of the key; of an admin key `admin:` its name.

    For a person in the console, `key_id` is the id of the session. A notice has no key.
    `request_id` is the id of the HTTP request or the SMTP session. `traceparent` is the span that
    the message's spans follow. `client_address` is the IP address of the client, if it is stored.
    """

    source: MessageSource
    key_id: str | None
    request_id: str | None = None
    traceparent: str | None = None
    client_address: str | None = None


@frozen_dataclass(kw_only=True)
class NewMessage:
    """A message to store: validated, resolved, rendered once (invariant 2).

    `mime` is the RFC 5322 message with CRLF line ends, before dot-stuffing. `envelope_from` is the
    address of MAIL FROM. `profile_revision` is the revision used. `sealed` is stored instead of the
    `mime` of a sensitive message. Sending starts at `send_at`. `retry_of` is the message that this
    one retries. `dsn` is the request for servers with DSN. With `has_verp`, each recipient has its
    own return path, derived from `envelope_from`.
    """

    id: str
    tenant_id: str
    profile_id: str
    profile_revision: int
    profile_name: str
    origin: Origin
    envelope_from: str
    sender: NamedAddress
    recipients: tuple[RecipientAddress, ...]
    subject: str
    message_id_header: str
    tags: tuple[str, ...]
    metadata: Mapping[str, str]
    mime: bytes = field(repr=False)
    created_at: datetime
    expires_at: datetime
    priority: Priority = Priority.NORMAL
    guarantee: Guarantee = Guarantee.AT_LEAST_ONCE
    sealed: SealedContent | None = None
    send_at: datetime | None = None
    retry_of: str | None = None
    dsn: DsnRequest | None = None
    has_verp: bool = False

    @property
    def is_scheduled(self) -> bool:
        """Whether sending starts later."""
        return self.send_at is not None and self.send_at > self.created_at

    @property
    def is_sensitive(self) -> bool:
        """Whether the content is wiped once the message is final."""
        return self.sealed is not None


MAX_RECIPIENTS: Final = 1000
