"""Define the frozen values that all layers share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from app.domain.dsn_request import DsnRequest
from app.domain.tenants.quotas import NO_QUOTA, Quota
from app.domain.tenants.retention import KEEP_FOREVER, Retention
from app.domain.tenants.routing import RecipientRule
from app.domain.value import frozen_dataclass


class TlsMode(StrEnum):
    """The TLS mode. All but `opportunistic` and `none` verify the certificate."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    OPPORTUNISTIC = "opportunistic"
    NONE = "none"


class AuthMechanism(StrEnum):
    """SASL mechanisms (RFC 4954): PLAIN RFC 4616, CRAM-MD5 RFC 2195, LOGIN a draft.

    SCRAM-SHA-256 RFC 7677. OAuth 2.0 is OAUTHBEARER (RFC 7628) or XOAUTH2, as offered.
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
    """Where messages go: to the SMTP server, or to a sandbox that keeps them."""

    SMTP = "smtp"
    SANDBOX = "sandbox"


class RecipientKind(StrEnum):
    """The header that names the recipient. `bcc` recipients are in no header."""

    TO = "to"
    CC = "cc"
    BCC = "bcc"


class RecipientStatus(StrEnum):
    """The recipient's status. `sending` is derived from the message's lease, never stored."""

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
    """The message's status, derived from its recipients and lease (`domain.delivery.status`)."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    PARTIALLY_SENT = "partially_sent"
    FAILED = "failed"
    CANCELLED = "cancelled"
    HELD = "held"


class Guarantee(StrEnum):
    """What happens if the outcome of a transmission is unknown (invariant 5)."""

    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


class Priority(StrEnum):
    """Which of a profile's messages go first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


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
    """Why an address is suppressed."""

    MANUAL = "manual"
    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """Somebody whom a tenant sends nothing to: no message at all, or none with the tag.

    `address` is in lower case.
    """

    id: str
    tenant_id: str
    address: str
    tag: str | None
    reason: SuppressionReason
    detail: str | None
    created_at: datetime


@frozen_dataclass
class Mailbox:
    """An address and the name shown beside it.

    The domain is its A-label. The local part may be in any script: then it is in Unicode's NFC.
    """

    address: str
    name: str = ""

    @property
    def domain(self) -> str:
        """The part right of the last `@`, lower case."""
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
        """How many permits come in one period."""
        return self.messages or self.recipients or 0

    @property
    def capacity(self) -> int:
        """How many permits the bucket holds."""
        return self.burst or self.amount

    def cost(self, recipients: int) -> int:
        """How many permits a message to so many recipients takes."""
        return 1 if self.recipients is None else recipients


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Who owns profiles, keys and messages."""

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
    created_at: datetime
    updated_at: datetime

    @property
    def recipient_rule(self) -> RecipientRule:
        """Whom it sends to, and where everything else goes."""
        return RecipientRule(self.redirect_all_to, self.allowed_recipient_domains)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A tenant's key without the key itself, of which only a hash is kept.

    `profiles` (ids), `allowed_from` (patterns on the sender) and `networks` (which it is used from)
    bind it; one that is empty does not.
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
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def has_scope(self, scope: Scope) -> bool:
        """Whether it may do this: who may change something may also look at it."""
        return scope in self.scopes or IMPLIED_SCOPES.get(scope) in self.scopes


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds to wait for: a TCP/TLS connection, a reply to a command, the reply to the final dot.

    The defaults before the final dot are shorter than the 2 to 5 minutes of RFC 5321 section
    4.5.3.2: nothing is lost by them but a connection. The final dot keeps its ten (RFC 1047: an
    impatient client sends twice).
    """

    connect: float = 30.0
    command: float = 120.0
    data: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a recipient that was refused for now is tried again, in seconds.

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
    """Where a profile's access tokens come from, its secrets apart.

    `subject` is for whom a `jwt_bearer` asks.
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
    """One SMTP identity: where to connect, how, and under which name. Holds no secret."""

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
    default_from: Mailbox | None = None
    allowed_from: tuple[str, ...] = ()
    max_connections: int = 10
    max_messages_per_connection: int = 1000
    rate_limit: RateLimit | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    fallback_profile_id: str | None = None
    fallback_after_seconds: int = 600
    paused_at: datetime | None = None
    revision: int = 1
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EhloRecommendation:
    """The name that the doctor found a profile's server to take, and why that one."""

    name: str
    reason: str
    found_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneHealth:
    """What is known of a profile's server: all `None` while nothing is wrong."""

    failing_since: datetime | None = None
    code: str | None = None
    reason: str | None = None
    next_probe_at: datetime | None = None
    faults: int = 0
    stalled_since: datetime | None = None
    concurrency: int | None = None
    recommendation: EhloRecommendation | None = None


def profile_state(profile: Profile, health: LaneHealth) -> ProfileState:
    """A person's pause is shown before a fault: nothing is tried while it lasts."""
    if profile.paused_at is not None:
        return ProfileState.PAUSED
    if health.failing_since is not None:
        return ProfileState.FAILING
    return ProfileState.ACTIVE if health.stalled_since is None else ProfileState.STALLED


@frozen_dataclass
class RecipientAddress:
    """A recipient as the caller gave it."""

    mailbox: Mailbox
    kind: RecipientKind


@dataclass(frozen=True, slots=True)
class SealedContent:
    """A message's bytes under a key of their own, and that key, sealed with the service's."""

    content: bytes = field(repr=False)
    key: bytes = field(repr=False)


@frozen_dataclass(kw_only=True)
class NewMessage:
    """A message ready to be written: validated, resolved, rendered once (invariant 2).

    `mime` is the RFC 5322 message with CRLF line ends, as it goes on the wire before
    dot-stuffing. `envelope_from` is the reverse-path of MAIL FROM. `profile_revision` is the one
    that the message was made by. `sealed` is what is stored of a sensitive one instead of `mime`.
    Before `send_at` nothing is sent. `retry_of` is the message whose bytes it sends once more.
    `dsn` is what servers that offer it are asked about notifications. With `has_verp` each
    recipient has a reverse-path of its own, made from `envelope_from`.
    """

    id: str
    tenant_id: str
    profile_id: str
    profile_revision: int
    envelope_from: str
    sender: Mailbox
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
        """Whether it is to be sent at a time to come."""
        return self.send_at is not None and self.send_at > self.created_at

    @property
    def is_sensitive(self) -> bool:
        """Whether its content is wiped once it is final."""
        return self.sealed is not None


MAX_RECIPIENTS: Final = 1000
