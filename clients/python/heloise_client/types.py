# Generated from the OpenAPI document by `make client`. Do not edit.
"""Define the types of requests and answers; `/docs` explains each.

A request has the fields that you set; an answer has every field. Times in answers are texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Required, TypedDict

Action = Literal["cancel", "retry", "resolve"]
ActorKind = Literal["admin", "key", "person", "command_line", "unknown"]
AdviceStatus = Literal["ok", "warning", "failed"]
AuthMechanism = Literal["auto", "oauth2", "scram-sha-256", "plain", "login", "cram-md5", "none"]
DeliveryStatus = Literal["pending", "delivered", "failed"]
Dimension = Literal["profile", "tag", "domain", "hour", "day"]
DkimAlgorithm = Literal["rsa-sha256", "ed25519-sha256"]
DkimKeyStatus = Literal["pending", "active", "retired"]
DsnNotify = Literal["never", "success", "failure", "delay"]
DsnReturn = Literal["headers", "full"]
EhloSource = Literal["profile", "tenant", "service", "hostname", "address_literal"]
EventType = Literal[
    "message.queued",
    "message.scheduled",
    "message.sent",
    "message.partially_sent",
    "message.failed",
    "message.cancelled",
    "message.held",
    "recipient.queued",
    "recipient.sent",
    "recipient.deferred",
    "recipient.bounced",
    "recipient.expired",
    "recipient.suppressed",
    "recipient.cancelled",
    "recipient.uncertain",
    "recipient.delivered",
    "recipient.delayed",
    "recipient.bounced_later",
    "recipient.complained",
    "recipient.unsubscribed",
    "recipient.reported",
    "profile.failing",
    "profile.stalled",
    "profile.recovered",
    "profile.paused",
    "profile.resumed",
    "webhook.disabled",
    "mailbox.mail_skipped",
]
FailureScope = Literal["profile", "connection", "message", "recipient"]
Format = Literal["jsonl", "csv"]
Guarantee = Literal["at_least_once", "at_most_once"]
Importance = Literal["high", "low"]
MailboxTls = Literal["implicit", "starttls", "none"]
MessageSource = Literal["api", "smtp", "resend", "cli", "notice"]
MessageStatus = Literal[
    "scheduled", "queued", "sending", "sent", "partially_sent", "failed", "cancelled", "held"
]
NameSource = Literal[
    "sender_domain",
    "profile",
    "tenant",
    "signing_domain",
    "other_profile",
    "service",
    "pointer",
    "hostname",
    "address_literal",
]
OAuthGrant = Literal["client_credentials", "refresh_token", "jwt_bearer"]
Order = Literal["asc", "desc"]
Priority = Literal["high", "normal", "low"]
ProfileState = Literal["active", "paused", "failing", "stalled"]
Provider = Literal["ses", "sendgrid", "postmark", "mailgun", "brevo"]
RampPeriod = Literal["hour", "day", "week"]
RecipientKind = Literal["to", "cc", "bcc"]
RecipientStatus = Literal[
    "queued",
    "sending",
    "deferred",
    "sent",
    "bounced",
    "expired",
    "suppressed",
    "cancelled",
    "uncertain",
]
ReportKind = Literal[
    "delivered", "delayed", "bounced_later", "complained", "unsubscribed", "reported"
]
Resolution = Literal["sent", "bounced", "retry"]
Scope = Literal[
    "messages:send",
    "messages:read",
    "messages:manage",
    "profiles:read",
    "profiles:manage",
    "suppressions:manage",
    "templates:manage",
    "events:read",
    "webhooks:manage",
    "keys:manage",
]
Stage = Literal["dns", "tcp", "banner", "ehlo", "tls", "auth", "mail", "rcpt", "data", "dot"]
Status = Literal["ok", "warning", "failed", "skipped"]
Step = Literal[
    "address_guard", "dns", "tcp", "banner", "ehlo", "tls", "ehlo_after_tls", "auth", "mail", "rcpt"
]
SuppressionReason = Literal["manual", "hard_bounce", "complaint", "unsubscribe"]
TlsMode = Literal["starttls", "implicit", "opportunistic", "none"]
Transport = Literal["smtp", "sandbox"]
Verdict = Literal["delivered", "defer", "bounce", "again"]
WaitReason = Literal[
    "scheduled",
    "profile_paused",
    "no_worker",
    "profile_failing",
    "backoff",
    "quota",
    "rate_limited",
    "destination_limited",
    "in_turn",
]
WebhookFormat = Literal["heloise", "resend"]


class ActionsRead(TypedDict):
    """The result of an action on many messages."""

    dry_run: bool
    matched: int
    """In a dry run, the number of messages that match, up to 100000."""
    done: int
    skipped: dict[str, int]
    """Messages that do not allow the action, counted by problem type."""
    next_cursor: str | None
    """Repeat the request with this as `cursor`."""


class ActorRead(TypedDict):
    """The actor."""

    kind: ActorKind
    id: str | None
    """The id of the key, or of a person's session of the console."""
    name: str | None
    """The name of the API key, of the admin key, of the person who signed in to the console through
    an OpenID Connect provider, or of the command line's user."""
    source: str | None
    """The client's IP address, or the host name of the command line's machine."""


class AddressObject(TypedDict, total=False):
    """An address and a display name."""

    email: Required[str]
    name: str | None


class AddressRead(TypedDict):
    """One of the server's addresses."""

    address: str
    duration_ms: float | None
    """How long connecting took."""
    error: str | None
    """Why the connection failed."""


class AdviceRead(TypedDict):
    """A check of the EHLO name against DNS and RFCs, independent of the server's reply."""

    check: str
    """The check's stable name."""
    status: AdviceStatus
    detail: str
    reason: str
    """The rule behind the status."""


class Alive(TypedDict, total=False):
    """The process runs."""

    status: Literal["ok"]


class AttachmentBody(TypedDict, total=False):
    """A file to attach."""

    filename: str | None
    """The file name, in any script."""
    content_type: str | None
    """The media type, with parameters if any."""
    content: Required[str]
    """The file's bytes in base64."""
    content_id: str | None
    """The id by which the HTML shows the file: `<img src="cid:logo@example.com">`."""
    disposition: Literal["attachment", "inline"] | None
    """Default: `inline` with a `content_id`, otherwise `attachment`."""


class AttemptRead(TypedDict):
    """An attempt to send a message: its stage, outcome and replies."""

    id: str
    profile_id: str
    """The profile that Heloise used: the message's profile or its fallback."""
    started_at: str
    duration_ms: float
    host: str | None
    port: int | None
    remote_address: str | None
    ehlo_name: str | None
    """The EHLO name that Heloise sent."""
    ehlo_source: EhloSource | None
    tls_version: str | None
    """Null if the connection was not encrypted."""
    tls_cipher: str | None
    auth_mechanism: str | None
    stage: Stage
    """The stage at which the attempt ended."""
    scope: FailureScope | None
    """What the failure affects."""
    verdict: Verdict
    classification: str
    reply_code: int | None
    reply_enhanced_code: str | None
    reply_text: str | None
    detail: str | None
    outcome_unknown: bool
    """Whether the server may have accepted the message."""
    provider_message_id: str | None
    """The id in the reply of Amazon SES, SendGrid or Brevo, by which their webhooks name the
    message."""
    recipients: list[AttemptRecipient]
    """The outcome of each recipient."""
    transcript: list[TranscriptLine] | None
    """The dialogue without credentials and content."""


class AttemptRecipient(TypedDict):
    """The outcome of an attempt for one recipient."""

    address: str
    stage: Stage
    verdict: Verdict
    classification: str
    reply_code: int | None
    reply_enhanced_code: str | None
    reply_text: str | None


class AuditRead(TypedDict):
    """An entry of the audit log."""

    id: str
    at: str
    actor: ActorRead
    action: str
    """The action, such as `key.create`."""
    tenant_id: str | None
    object_id: str | None
    """The id of the changed object."""
    refused_as: str | None
    """The problem type of a refused request."""
    changes: dict[str, ChangeRead]
    """The changed fields, before and after."""
    request_id: str | None


class Auth(TypedDict, total=False):
    """SMTP authentication."""

    mechanism: AuthMechanism | None
    """`auto` picks the best mechanism that the server offers."""
    username: str | None
    password: str | None
    """Write-only: stored encrypted, never returned."""
    allow_plaintext_auth: bool | None
    """Whether Heloise may send the password or access token over an unencrypted connection."""
    grant: OAuthGrant | None
    token_url: str | None
    client_id: str | None
    client_secret: str | None
    private_key: str | None
    refresh_token: str | None
    scope: str | None
    subject: str | None
    preset: Literal["google", "microsoft"] | None
    tenant: str | None


class AuthRead(TypedDict):
    """SMTP authentication, without secrets."""

    mechanism: AuthMechanism
    username: str | None
    has_password: bool
    allow_plaintext_auth: bool
    grant: OAuthGrant | None
    """The OAuth grant."""
    token_url: str | None
    client_id: str | None
    scope: str | None
    subject: str | None
    has_client_secret: bool
    has_private_key: bool
    has_refresh_token: bool


class AuthUpdate(TypedDict, total=False):
    """Changes to the authentication."""

    mechanism: AuthMechanism | None
    username: str | None
    password: str | None
    allow_plaintext_auth: bool | None
    grant: OAuthGrant | None
    token_url: str | None
    client_id: str | None
    client_secret: str | None
    private_key: str | None
    refresh_token: str | None
    scope: str | None
    subject: str | None
    preset: Literal["google", "microsoft"] | None
    tenant: str | None


class BatchCreate(TypedDict):
    """Messages to send."""

    messages: Sequence[MessageCreate]
    """The messages."""


class BatchRead(TypedDict):
    """One result per message, in the same order."""

    results: list[BatchResult]


class BatchResult(TypedDict):
    """The result of one message of a batch."""

    status: int
    """The status that `POST /messages` would return: 202 or an error."""
    message: MessageRead | None
    """The accepted message."""
    problem: ProblemBody | None
    """The error."""


class CertificateRead(TypedDict):
    """The server's certificate."""

    names: list[str]
    """The host names and addresses in the certificate."""
    expires_in_days: int
    chain: list[ChainLinkRead]


class ChainLinkRead(TypedDict):
    """A certificate of the server's chain."""

    subject: str
    issuer: str
    not_before: str
    not_after: str
    pin: str
    """The pin of its key, in the format of `tls_pins`."""
    self_signed: bool


class ChangeRead(TypedDict):
    """A field's value before and after."""

    before: Any
    after: Any


class ConsoleSessionRead(TypedDict):
    """A session of the console."""

    id: str
    name: str
    """The name of the key or of the person who signed in."""
    subject: str | None
    """The OpenID Connect provider's id of the person."""
    scopes: list[Scope] | None
    """What the session may do."""
    source: str | None
    """The IP address that signed in."""
    created_at: str
    last_used_at: str
    """Updated at most once a minute."""
    expires_at: str
    """When the session ends at the latest."""


class DeliveryLine(TypedDict):
    """A post of the event and its response."""

    started_at: str
    duration_ms: float
    status_code: int | None
    """Null if there was no response."""
    response: str | None
    """The first 1000 characters of the response."""
    error: str | None


class DeliveryRead(TypedDict):
    """An event for a webhook and all its posts."""

    id: str
    webhook_id: str
    event_id: str
    event_type: EventType
    status: DeliveryStatus
    """`pending` until a post succeeds or ten posts failed."""
    attempts: int
    """The number of posts since the last replay."""
    next_attempt_at: str | None
    created_at: str
    """When Heloise queued the event for this webhook."""
    finished_at: str | None
    log: list[DeliveryLine]
    """Oldest first."""


class DepthRead(TypedDict):
    """How many messages wait."""

    messages: dict[str, int]
    """Unfinished messages by status, among the tenant's 10000 oldest."""
    due: int
    """How many of them are due."""
    is_complete: bool
    """Whether Heloise looked at all unfinished messages."""


class Destination(TypedDict, total=False):
    """Limits for the recipients of some domains."""

    match: Required[Sequence[str]]
    """The domains of the recipients: `gmail.com`, `*.outlook.com` (subdomains only),
    `mx:*.google.com` (every domain with such an MX host), `*` (all)."""
    rate_limit: RateLimit | None
    max_connections: int | None
    """The maximum number of connections that carry mail to these recipients at the same time, over
    all workers."""
    max_recipients_per_message: int | None
    """How many of these recipients share one SMTP transaction."""
    ramp: Ramp | None


class DestinationRead(TypedDict):
    """Limits for the recipients of some domains, and what is left of them."""

    match: list[str]
    rate_limit: RateLimitRead | None
    max_connections: int | None
    max_recipients_per_message: int | None
    ramp: RampRead | None
    available: int | None
    """How many messages or recipients `rate_limit` allows at once now."""
    waits_until: str | None
    """When `rate_limit` and `ramp` allow the next recipient."""


class DiagnosisRead(TypedDict):
    """Trials of EHLO names on the server, and the recommended one."""

    names: list[NameRead]
    """At most twelve names, in the order of the trials, which is that of `source`."""
    recommendation: RecommendationRead | None
    detail: str
    """If the server accepts no name: what its replies mean, and what to ask its operator for."""


class DkimKeyRead(TypedDict):
    """A DKIM key of a domain."""

    selector: str
    algorithm: DkimAlgorithm
    status: DkimKeyStatus
    """`pending` until Heloise finds the DNS record, `active` while it signs, `retired` after a
    rotation."""
    dns_record: DnsRecord
    found_at: str | None
    """When Heloise found the record, if the last check still found it."""
    checked_at: str | None
    """When Heloise last checked the record."""
    problem: str | None
    """What was wrong with the record at the last check."""
    retired_at: str | None
    record_needed_until: str | None
    """For a retired key: keep its DNS record until then, for messages in transit."""
    created_at: str


class DnsRecord(TypedDict):
    """A DNS record to add."""

    name: str
    type: str
    value: str
    """The value in one piece."""


class DomainCreate(TypedDict):
    """A domain to sign for."""

    domain: str
    """The domain of the From address."""


class DomainRead(TypedDict):
    """A domain and its keys, without their private parts."""

    id: str
    domain: str
    signed: bool
    """Whether Heloise signs messages of this domain: true if a key is active."""
    keys: list[DkimKeyRead]
    """Newest first."""
    created_at: str
    updated_at: str


_DsnBody = TypedDict("_DsnBody", {"return": "DsnReturn | None"}, total=False)


class DsnBody(_DsnBody, total=False):
    """Delivery status notifications (RFC 3461), requested from servers that support them."""

    notify: Sequence[DsnNotify] | None
    """When servers send a notification."""


class EffectiveEhloRead(TypedDict):
    """The EHLO name that Heloise uses."""

    name: str
    source: EhloSource
    """Where the name comes from."""
    warnings: list[str]
    """Reasons for which a server may refuse the name."""


class ErasureRead(TypedDict):
    """Numbers of messages that were erased and that could not be erased."""

    erased: int
    sending: int
    """Messages in transmission, not erased: repeat the request later."""
    uncertain: int
    """Messages with an uncertain outcome, not erased: resolve them and repeat the request."""


class EventData(TypedDict):
    """What the event is about."""

    profile: EventProfile | None
    message: EventMessage | None
    recipient: EventRecipient | None
    webhook: str | None
    """The id of the webhook that the event is about."""
    mailbox: str | None
    """The id of the mailbox that the event is about."""
    code: str | None
    """A stable code of why the profile fails."""
    reason: str | None
    """A sentence that explains the event."""


class EventMessage(TypedDict):
    """The message that the event is about."""

    id: str
    message_id_header: str
    tags: list[str]
    metadata: dict[str, str]
    source: MessageSource | None
    """How the message reached Heloise: by this API, by SMTP, by the Resend-compatible API or by the
    command line."""
    key_id: str | None
    """The id of the API key that sent it, or `admin:` and the name of an admin key."""
    request_id: str | None
    """The id of the request that sent it, as in the header `X-Request-ID`, or of the SMTP
    session."""
    trace_id: str | None
    """The id of its trace, from the header `traceparent` of the request or from Heloise's own
    tracing."""


class EventProfile(TypedDict):
    """The profile that the event is about, or that of the message."""

    id: str
    name: str


class EventRead(TypedDict):
    """An event."""

    id: str
    """The same in every list and in every delivery to webhooks."""
    type: EventType
    timestamp: str
    ordering_key: str
    """Events with the same key arrive in the order in which they happened."""
    data: EventData


class EventRecipient(TypedDict):
    """The recipient that the event is about."""

    address: str
    name: str
    kind: RecipientKind
    status: RecipientStatus
    """The status that the event set."""
    attempts: int
    next_attempt_at: str | None
    sent_to: str | None
    last_reply: EventReply | None


class EventReply(TypedDict):
    """The server's reply."""

    code: int | None
    enhanced_code: str | None
    text: str | None
    classification: str | None


class FieldProblem(TypedDict):
    """An invalid value in a request."""

    loc: list[str | int]
    """The location: `body`, `query`, `path` or `header`, then the path to the value."""
    msg: str
    """What is wrong and what to write instead."""
    type: str
    """A stable name of the kind of error."""


class InboundRead(TypedDict):
    """The content of a report."""

    new: bool
    """False if Heloise has already processed this mail."""
    recipients: list[InboundRecipient]


class InboundRecipient(TypedDict):
    """The report about one recipient."""

    kind: ReportKind
    address: str | None
    """The recipient's address in the message, or the address in the report."""
    code: str | None
    """The enhanced status code (RFC 3463)."""
    text: str | None
    message: str | None
    """The message's id."""
    suppressed: bool
    """Whether the address is now suppressed."""


class InvalidLine(TypedDict):
    """An invalid line."""

    line: int
    msg: str


class KeyCreate(TypedDict, total=False):
    """A new key."""

    name: Required[str]
    """What the key is for."""
    scopes: Required[Sequence[Scope]]
    """What the key may do."""
    profiles: Sequence[str] | None
    """The profiles that the key may use, by id or name."""
    allowed_from: Sequence[str] | None
    """Sender addresses that the key may use, within those that the profile allows:
    `user@example.com`, `*@example.com` or `*@*.example.com`."""
    networks: Sequence[str] | None
    """The networks from which the key works: `192.0.2.0/24`, `192.0.2.1`, `2001:db8::/32`."""
    expires_at: str | datetime | None
    """When the key expires."""


class KeyCreated(TypedDict):
    """A new key, including the key itself."""

    id: str
    name: str
    hint: str
    """The key's first characters, by which you can recognize it."""
    scopes: list[Scope]
    profiles: list[str]
    """Ids of the profiles that the key is bound to."""
    allowed_from: list[str]
    networks: list[str]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    """Updated from time to time, not at each use."""
    key: str
    """The key."""


class KeyRead(TypedDict):
    """A key without the key itself."""

    id: str
    name: str
    hint: str
    """The key's first characters, by which you can recognize it."""
    scopes: list[Scope]
    profiles: list[str]
    """Ids of the profiles that the key is bound to."""
    allowed_from: list[str]
    networks: list[str]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    """Updated from time to time, not at each use."""


class KeyRotate(TypedDict, total=False):
    """Options of a rotation."""

    overlap_seconds: int | None
    """How long the old key keeps working. 0 revokes it at once."""
    expires_at: str | datetime | None
    """When the new key expires."""


class LastReply(TypedDict):
    """The server's last reply and its classification."""

    code: int | None
    enhanced_code: str | None
    text: str | None
    classification: str | None


class LimitRead(TypedDict):
    """A limit of the tenant's quota."""

    limit: str
    value: int
    used: int | None
    """How much the tenant uses."""
    resets_at: str | None
    """When the count returns to zero."""


class LineRead(TypedDict):
    """A line of the SMTP dialogue."""

    ms: float
    """Milliseconds since the start of the connection."""
    by: str
    """`client`, `server`, or `note` for a remark by Heloise."""
    text: str
    """The line, without secrets."""


class MailboxCreate(TypedDict, total=False):
    """An IMAP folder that receives reports."""

    name: Required[str]
    host: Required[str]
    """The IMAP server: a host name, or an IP address."""
    port: int | None
    """The TCP port: usually 993 or 143."""
    tls: MailboxTls | None
    tls_ca: str | None
    """CA certificates (PEM) to trust instead of the public ones."""
    username: Required[str]
    password: Required[str]
    """Write-only: stored encrypted, never returned."""
    folder: str | None
    poll_seconds: int | None
    """How often Heloise reads the mailbox."""
    delete_reports: bool | None
    """Whether Heloise deletes reports after it has read them."""
    enabled: bool | None
    """Whether Heloise reads the mailbox."""


class MailboxRead(TypedDict):
    """A mailbox and its state, without its password."""

    id: str
    name: str
    host: str
    port: int
    tls: MailboxTls
    tls_ca: str | None
    username: str
    folder: str
    poll_seconds: int
    delete_reports: bool
    enabled: bool
    polled_at: str | None
    """When Heloise last read the mailbox."""
    failing_since: str | None
    """Since when Heloise cannot read the mailbox."""
    reason: str | None
    """Why Heloise cannot read the mailbox."""
    reports: int
    """How many mails were reports."""
    others: int
    """The number of mails that are not reports, or that Heloise skipped."""
    created_at: str
    updated_at: str


class MailboxUpdate(TypedDict, total=False):
    """Changes to a mailbox."""

    name: str | None
    host: str | None
    port: int | None
    tls: MailboxTls | None
    tls_ca: str | None
    username: str | None
    password: str | None
    folder: str | None
    poll_seconds: int | None
    delete_reports: bool | None
    enabled: bool | None


_MessageActions = TypedDict("_MessageActions", {"as": "Resolution | None"}, total=False)


class MessageActions(_MessageActions, total=False):
    """An action and the messages that it applies to."""

    action: Required[Action]
    filter: Required[MessageFilters]
    """The same filters as `GET /messages`."""
    dry_run: bool | None
    """By default, Heloise only counts the matching messages."""
    cursor: str | None
    """The `next_cursor` of the previous response."""


_MessageCreate = TypedDict("_MessageCreate", {"from": "str | AddressObject | None"}, total=False)


class MessageCreate(_MessageCreate, total=False):
    """A message to send."""

    profile: str | None
    """The profile's id or name."""
    to: str | AddressObject | Sequence[str | AddressObject] | None
    """Addresses in any script."""
    cc: str | AddressObject | Sequence[str | AddressObject] | None
    bcc: str | AddressObject | Sequence[str | AddressObject] | None
    """Recipients that no header shows."""
    reply_to: str | AddressObject | Sequence[str | AddressObject] | None
    subject: str | None
    text: str | None
    """The plain text."""
    html: str | None
    """The HTML version."""
    template: str | None
    """The id or name of a template for subject, text and html."""
    variables: Mapping[str, Any] | None
    """Values for the template's variables, such as `{{ name }}`."""
    locale: str | None
    """The language of the template."""
    calendar: str | None
    """An invitation as iCalendar text with a METHOD, next to text and HTML."""
    sender: str | AddressObject | None
    """The header Sender: the mailbox that sends on behalf of `from`."""
    return_path: str | None
    """The address for bounces (MAIL FROM)."""
    verp: bool | None
    """Whether each recipient gets a bounce address of its own,
    `bounces+<message>-<recipient>@example.com`, derived from `return_path` or `from` (VERP)."""
    list_unsubscribe: UnsubscribeBody | None
    auto_submitted: Literal["auto-generated", "auto-replied"] | None
    """Marks the message as automatic (RFC 3834), which suppresses out-of-office replies."""
    importance: Importance | None
    """The importance that mail programs show."""
    dsn: DsnBody | None
    attachments: Sequence[AttachmentBody] | None
    """Files to attach, in order."""
    headers: Mapping[str, str] | None
    """More headers, such as `X-Campaign`."""
    tags: Sequence[str] | None
    """Words for finding messages."""
    metadata: Mapping[str, str] | None
    """Your own data, stored with the message and returned with it."""
    send_at: str | datetime | None
    """When to send the message: a time within the next year (RFC 3339, with an offset)."""
    expires_at: str | datetime | None
    """When to give up, at most 30 days after `send_at`."""
    priority: Priority | None
    """Which of the profile's waiting messages go first."""
    guarantee: Guarantee | None
    """What happens if the server's reply to a transmission is lost."""
    sensitive: bool | None
    """Whether only the SMTP server gets the content."""


class MessageFilters(TypedDict, total=False):
    """Filters."""

    id: str | Sequence[str] | None
    """Only the messages with these ids."""
    status: MessageStatus | Sequence[MessageStatus] | None
    """Only messages with one of these statuses."""
    profile: str | None
    """The profile's id or name."""
    tag: str | None
    recipient: str | None
    """An address in to, cc or bcc."""
    key: str | None
    """The id of the API key that sent it, or `admin:` and the name of an admin key."""
    source: MessageSource | None
    """Only messages that reached Heloise in this way."""
    request_id: str | None
    """The id of the request that sent it (`X-Request-ID`), or of the SMTP session."""
    message_id: str | None
    """The header Message-ID, with or without brackets."""
    created_after: str | datetime | None
    """Only messages created at this time or later (RFC 3339, with an offset)."""
    created_before: str | datetime | None
    """Only messages created before this time."""


_MessageRead = TypedDict("_MessageRead", {"from": "str"})


class MessageRead(_MessageRead):
    """A message and the status of each recipient."""

    id: str
    status: MessageStatus
    profile: str
    """The profile's name."""
    profile_id: str
    subject: str | None
    """Null for a sensitive message and after the content was deleted."""
    recipients: list[RecipientRead]
    message_id_header: str
    """The header `Message-ID`, the same in all attempts."""
    size_bytes: int
    """The size of the message on the wire."""
    tags: list[str]
    metadata: dict[str, str]
    priority: Priority
    guarantee: Guarantee
    sensitive: bool
    content_wiped_at: str | None
    """When Heloise deleted the content."""
    created_at: str
    send_at: str | None
    """The scheduled time."""
    expires_at: str
    """When Heloise gives up."""
    updated_at: str
    finished_at: str | None
    """When the last recipient reached a final status."""
    retry_of: str | None
    """The message that this one retries."""
    source: MessageSource | None
    """How the message reached Heloise: by this API, by SMTP, by the Resend-compatible API or by the
    command line."""
    key_id: str | None
    """The id of the API key that sent it, or `admin:` and the name of an admin key."""
    request_id: str | None
    """The id of the request that sent it, as in the header `X-Request-ID`, or of the SMTP
    session."""
    trace_id: str | None
    """The id of its trace, from the header `traceparent` of the request or from Heloise's own
    tracing."""
    client_address: str | None
    """The IP address of the client that sent it."""
    waiting: WaitingRead | None
    """Why the message waits."""


_MessageResolve = TypedDict("_MessageResolve", {"as": "Required[Resolution]"}, total=False)


class MessageResolve(_MessageResolve, total=False):
    """The outcome of uncertain recipients."""

    recipients: str | Sequence[str] | None
    """The recipients' addresses."""


class MessageRetry(TypedDict, total=False):
    """The recipients to retry."""

    recipients: str | Sequence[str] | None
    """Addresses of failed recipients."""


class MessageUpdate(TypedDict, total=False):
    """Changes to a scheduled message."""

    send_at: str | datetime | None
    """A time within the next year."""
    expires_at: str | datetime | None
    """When to give up, at most 30 days after `send_at`."""
    priority: Priority | None


class NameRead(TypedDict):
    """A trial of an EHLO name."""

    name: str
    source: NameSource
    accepted: bool | None
    """Null if Heloise did not try the name."""
    at: str | None
    """The stage that refused the name, or the last that accepted it."""
    reply: str | None
    """The server's reply."""


class Notify(TypedDict):
    """Who gets mail when a profile fails and when it recovers."""

    profile: str
    """The profile that sends the mail, by name or id, from its `default_from`."""
    to: Sequence[str]


class NotifyRead(TypedDict):
    """Who gets mail when a profile fails and when it recovers."""

    profile: str
    """The id of the profile that sends the mail."""
    to: list[str]


class Parts(TypedDict, total=False):
    """The parts of a message, as Jinja templates."""

    subject: str | None
    """The subject."""
    text: str | None
    """The plain text."""
    html: str | None
    """HTML."""
    mjml: str | None
    """MJML, which Heloise turns into HTML."""


class PartsRead(TypedDict):
    """The parts of a message, as Jinja templates."""

    subject: str | None
    text: str | None
    html: str | None
    mjml: str | None


class ProblemBody(TypedDict, total=False):
    """An error as RFC 9457 describes it."""

    type: Required[str]
    """A stable path that names the type."""
    title: Required[str]
    """The type's title."""
    status: Required[int]
    """The HTTP status."""
    detail: Required[str]
    """What happened, and what to do about it."""
    instance: Required[str]
    """The path of the request."""
    request_id: Required[str | None]
    """The request's id, as in the header X-Request-ID."""
    errors: list[FieldProblem] | None
    """Each invalid value, for `/problems/invalid-request`."""


class ProblemTypeRead(TypedDict):
    """A type of error."""

    type: str
    """The path in `type` of an error."""
    status: int
    """The HTTP status."""
    title: str
    remedy: str
    """What to do about it."""


class ProblemTypes(TypedDict):
    """All types of errors."""

    items: list[ProblemTypeRead]


class ProfileCreate(TypedDict, total=False):
    """A new profile."""

    name: Required[str]
    """Unique in the tenant: 1 to 100 letters, digits, `.`, `_` and `-`."""
    transport: Transport | None
    """`sandbox` accepts every message and sends none."""
    host: str | None
    port: int | None
    """The TCP port: 587 with `starttls`, 465 with `implicit`."""
    tls: TlsMode | None
    """`starttls` (required), `implicit` (TLS from the first byte), `opportunistic` (TLS if offered,
    certificate not verified), `none`."""
    tls_ca: str | None
    """Certificates (PEM) to trust instead of the public authorities."""
    client_certificate: str | None
    """The client certificate (PEM), chain included."""
    client_key: str | None
    """The private key of the client certificate (PEM)."""
    tls_min_version: Literal["1.0", "1.1", "1.2", "1.3"] | None
    """The minimum TLS version. 1.0 and 1.1 are deprecated (RFC 8996) and also allow weak keys and
    signatures."""
    tls_server_name: str | None
    tls_pins: Sequence[str] | None
    """Pinned keys: `sha256/` and the base64 of the key's SHA-256 (RFC 7469)."""
    ehlo_name: str | None
    """The name that Heloise sends in EHLO: a fully qualified domain name, or an address literal
    such as `[192.0.2.1]`."""
    source_address: str | None
    auth: Auth | None
    default_from: str | AddressObject | None
    """The sender of messages without `from`."""
    allowed_from: Sequence[str] | None
    """Allowed sender addresses: `user@example.com`, `*@example.com`, `*@*.example.com`."""
    max_connections: int | None
    """The maximum number of connections, over all workers."""
    max_messages_per_connection: int | None
    """Heloise closes a connection after this number of messages."""
    rate_limit: RateLimit | None
    ramp: Ramp | None
    destinations: Sequence[Destination] | None
    """Limits by the domains of recipients; the first that matches counts."""
    timeouts: Timeouts | None
    retry: Retry | None
    fallback_profile: str | None
    fallback_after_seconds: int | None
    is_default: bool | None
    """Whether this profile sends messages without `profile`."""


class ProfileRead(TypedDict):
    """A profile, without its secrets."""

    id: str
    name: str
    transport: Transport
    host: str | None
    port: int
    tls: TlsMode
    tls_ca: str | None
    client_certificate: str | None
    has_client_key: bool
    tls_min_version: str
    tls_server_name: str | None
    tls_pins: list[str]
    ehlo_name: str | None
    effective_ehlo: EffectiveEhloRead
    source_address: str | None
    auth: AuthRead
    default_from: str | None
    allowed_from: list[str]
    max_connections: int
    max_messages_per_connection: int
    concurrency: int
    """The number of connections that the server currently handles well."""
    rate_limit: RateLimitRead | None
    available: int | None
    """How many messages or recipients `rate_limit` allows at once now."""
    ramp: RampRead | None
    destinations: list[DestinationRead]
    timeouts: TimeoutsRead
    retry: RetryRead
    fallback_profile: str | None
    """The id of the fallback profile."""
    fallback_after_seconds: int
    is_default: bool
    state: ProfileState
    """`paused`: you paused it."""
    paused_at: str | None
    failing_since: str | None
    stalled_since: str | None
    """Since when the server has been silent on every connection, each for more than 30 seconds."""
    failing_code: str | None
    """A stable code of the fault."""
    reason: str | None
    """What is wrong, with the server's reply if there was one."""
    next_probe_at: str | None
    """When Heloise tries the server again."""
    recommended_ehlo_name: str | None
    """An EHLO name that the server accepts, if verify found one."""
    created_at: str
    updated_at: str


class ProfileUpdate(TypedDict, total=False):
    """Changes to a profile (RFC 7396)."""

    name: str | None
    transport: Transport | None
    host: str | None
    port: int | None
    tls: TlsMode | None
    tls_ca: str | None
    client_certificate: str | None
    client_key: str | None
    tls_min_version: Literal["1.0", "1.1", "1.2", "1.3"] | None
    tls_server_name: str | None
    tls_pins: Sequence[str] | None
    ehlo_name: str | None
    """The name that Heloise sends in EHLO: a fully qualified domain name, or an address literal
    such as `[192.0.2.1]`."""
    source_address: str | None
    auth: AuthUpdate | None
    default_from: str | AddressObject | None
    allowed_from: Sequence[str] | None
    max_connections: int | None
    max_messages_per_connection: int | None
    rate_limit: RateLimitUpdate | None
    ramp: RampUpdate | None
    destinations: Sequence[Destination] | None
    timeouts: TimeoutsUpdate | None
    retry: RetryUpdate | None
    fallback_profile: str | None
    fallback_after_seconds: int | None
    is_default: bool | None


class ProfileVerify(TypedDict, total=False):
    """Options of verify."""

    recipient: str | AddressObject | None
    """A recipient for RCPT TO."""
    sender: str | AddressObject | None
    """The address for MAIL FROM."""


class ProviderEventsRead(TypedDict):
    """What Heloise did with the events of a post."""

    events: int
    """How many events were new reports."""
    repeated: int
    """How many events Heloise has already processed."""
    unmatched: int
    """How many of the new reports name no message."""
    ignored: int
    """How many events say nothing about delivery, such as clicks."""


class ProviderWebhookCreate(TypedDict, total=False):
    """A URL for the events of an email provider."""

    name: Required[str]
    provider: Required[Provider]
    secret: str | None
    public_key: str | None
    topic_arn: str | None
    networks: Sequence[str] | None
    """The networks from which posts may come: `192.0.2.0/24`."""


class ProviderWebhookCreated(TypedDict):
    """A provider webhook and its path."""

    id: str
    name: str
    provider: Provider
    topic_arn: str | None
    public_key: str | None
    has_secret: bool
    networks: list[str]
    previous_token_expires_at: str | None
    """Until then, the previous URL works too."""
    received_at: str | None
    """When the provider last posted."""
    events: int
    """How many events were reports."""
    unmatched: int
    """How many of them name no message of the tenant, or a message that is deleted."""
    ignored: int
    """How many events say nothing about delivery, such as clicks."""
    created_at: str
    updated_at: str
    path: str
    """The path for the provider's console, behind the public address of this service."""


class ProviderWebhookRead(TypedDict):
    """A provider webhook, without its token and its secret."""

    id: str
    name: str
    provider: Provider
    topic_arn: str | None
    public_key: str | None
    has_secret: bool
    networks: list[str]
    previous_token_expires_at: str | None
    """Until then, the previous URL works too."""
    received_at: str | None
    """When the provider last posted."""
    events: int
    """How many events were reports."""
    unmatched: int
    """How many of them name no message of the tenant, or a message that is deleted."""
    ignored: int
    """How many events say nothing about delivery, such as clicks."""
    created_at: str
    updated_at: str


class ProviderWebhookRotate(TypedDict, total=False):
    """Options of a rotation."""

    overlap_seconds: int | None
    """How long the previous URL still works."""


class ProviderWebhookUpdate(TypedDict, total=False):
    """Changes to a provider webhook."""

    name: str | None
    provider: Provider | None
    secret: str | None
    public_key: str | None
    topic_arn: str | None
    networks: Sequence[str] | None


class QueueProfileRead(TypedDict):
    """A profile with waiting messages or a fault."""

    profile: str
    """The profile's name."""
    profile_id: str
    tenant: str
    """The tenant's slug."""
    tenant_id: str
    state: ProfileState
    failing_since: str | None
    """Since when the profile has been failing, or its server silent."""
    code: str | None
    """A stable code of the fault."""
    reason: str | None
    """What is wrong, with the server's reply if there was one."""
    next_probe_at: str | None
    """When Heloise tries the server again."""
    messages: int
    """Messages that are scheduled, queued or sending, up to 10000."""
    due: int
    """How many of them are due, up to 10000."""
    due_since: str | None
    """Since when the first of them has been due."""
    next_attempt_at: str | None
    """When the next one becomes due."""
    attempts: dict[str, int]
    """Attempts of the last minutes by verdict."""


class QueueRead(TypedDict):
    """The queue, and its profiles: failing ones first."""

    items: list[QueueProfileRead]
    next_cursor: str | None
    """Send it as `cursor` to get the next page."""
    messages: dict[str, int]
    """Unfinished messages by status, among the tenant's 100000 oldest."""
    due: int
    """How many of them are due."""
    oldest_at: str | None
    """When the oldest of them was accepted."""
    next_attempt_at: str | None
    """When the next one becomes due."""
    workers: int
    """Delivering processes that are alive, of all tenants."""
    service: ServiceRead | None
    """Workers, database and retention."""
    throughput: ThroughputRead


class Quota(TypedDict, total=False):
    """Limits of a tenant."""

    requests_per_second: int | None
    """Requests per second and serving process."""
    messages_per_day: int | None
    """Messages per day (UTC)."""
    messages_per_month: int | None
    """Messages per month (UTC)."""
    queued_messages: int | None
    """Unfinished messages."""
    recipients_per_message: int | None
    """Recipients in `to`, `cc` and `bcc`."""
    message_bytes: int | None
    """The size of a message on the wire."""
    profiles: int | None
    """The number of profiles."""
    stored_bytes: int | None
    """The size of all stored messages."""


class QuotaRead(TypedDict, total=False):
    """Limits of a tenant."""

    requests_per_second: int | None
    messages_per_day: int | None
    messages_per_month: int | None
    queued_messages: int | None
    recipients_per_message: int | None
    message_bytes: int | None
    profiles: int | None
    stored_bytes: int | None


class Ramp(TypedDict, total=False):
    """A limit on recipients that grows, for a new identity whose reputation must grow first."""

    start: Required[int]
    """The recipients of the first period."""
    factor: Required[float]
    """How much each period allows more."""
    every: RampPeriod | None
    """The length of a period."""
    until: Required[int]
    """The most that a period allows."""


class RampRead(TypedDict):
    """A limit on recipients that grows."""

    start: int
    factor: float
    every: RampPeriod
    until: int
    started_at: str
    """When the first period began: when you set the ramp."""
    allowance: int
    """The recipients that the current period allows."""
    used: int
    """The recipients that count in the current period."""
    next_period_at: str


class RampUpdate(TypedDict, total=False):
    """Changes to the ramp."""

    start: int | None
    factor: float | None
    every: RampPeriod | None
    until: int | None


class RateLimit(TypedDict, total=False):
    """The average number of messages or recipients per `per_seconds`; others wait."""

    messages: int | None
    recipients: int | None
    """Instead of `messages`: counts each recipient."""
    per_seconds: Required[int]
    burst: int | None
    """How many may go at once."""


class RateLimitRead(TypedDict):
    """The average number of messages or recipients per `per_seconds`."""

    messages: int | None
    recipients: int | None
    per_seconds: int
    burst: int | None


class RateLimitUpdate(TypedDict, total=False):
    """Changes to the rate limit."""

    messages: int | None
    recipients: int | None
    per_seconds: int | None
    burst: int | None


class Ready(TypedDict, total=False):
    """The process can serve requests."""

    status: Literal["ready"]


class RecipientRead(TypedDict):
    """A recipient and its status."""

    address: str | None
    """Null after an erasure."""
    name: str
    kind: RecipientKind
    status: RecipientStatus
    attempts: int
    """The number of attempts."""
    next_attempt_at: str | None
    last_reply: LastReply | None
    sent_to: str | None
    """The address to which `redirect_all_to` sent the message."""
    report: ReportRead | None
    """The report about this recipient, by mail or from an email provider."""
    waiting: WaitingRead | None
    """Why the recipient waits."""


class RecommendationRead(TypedDict):
    """The name to set as `ehlo_name`."""

    name: str
    reason: str


class ReportRead(TypedDict):
    """A report that arrived by mail or from an email provider."""

    kind: ReportKind
    """`bounced_later`: a later server returned the message."""
    code: str | None
    """The enhanced status code (RFC 3463)."""
    text: str | None
    at: str


class Retention(TypedDict, total=False):
    """Days from acceptance."""

    content_days: int | None
    """Days to keep the content and subject."""
    recipient_days: int | None
    """Days to keep recipients' addresses; the content goes with them."""
    attempt_days: int | None
    """Days to keep attempts."""
    message_days: int | None
    """Days to keep the message and all of these."""
    event_days: int | None
    """Days to keep events and webhook deliveries."""


class RetentionRead(TypedDict, total=False):
    """Days from acceptance."""

    content_days: int | None
    recipient_days: int | None
    attempt_days: int | None
    message_days: int | None
    event_days: int | None


class Retry(TypedDict, total=False):
    """When to retry a recipient after a temporary failure."""

    first_seconds: float | None
    """The maximum wait after the first failure."""
    factor: float | None
    """The factor by which the maximum wait grows with each failure."""
    cap_seconds: float | None
    """The upper limit of the maximum wait."""
    max_age_seconds: int | None
    """The age at which a message expires."""
    max_unknown_outcomes: int | None
    """How often Heloise sends to a recipient if it loses the server's reply each time: each message
    may have arrived."""


class RetryRead(TypedDict):
    """When Heloise retries a recipient after a temporary failure, in seconds."""

    first_seconds: float
    factor: float
    cap_seconds: float
    max_age_seconds: int | None
    max_unknown_outcomes: int


class RetryUpdate(TypedDict, total=False):
    """Changes to the retries."""

    first_seconds: float | None
    factor: float | None
    cap_seconds: float | None
    max_age_seconds: int | None
    max_unknown_outcomes: int | None


class ServiceRead(TypedDict):
    """The state of the whole service."""

    workers: list[WorkerRead]
    database_bytes: int
    """The size of the database."""
    purged_at: str | None
    """Heloise deletes the expired data of one tenant after another."""


class StageRead(TypedDict):
    """A stage."""

    stage: Step
    status: Status
    """`skipped`: not reached or not requested."""
    duration_ms: float
    detail: str
    """The finding, with the server's reply if there was one."""
    code: str | None
    """A stable code of the fault."""
    hint: str | None
    """What to change."""
    transcript: list[LineRead]
    addresses: list[AddressRead]
    """The server's addresses, at `dns` and `tcp`."""
    ehlo_name: str | None
    """The EHLO name that Heloise sent."""
    ehlo_source: str | None
    """Where the name comes from."""
    greeting: str | None
    """The server's first line."""
    extensions: list[str]
    """What the server offers (RFC 5321 section 4.1.1.1)."""
    tls_version: str | None
    tls_cipher: str | None
    certificate: CertificateRead | None
    mechanisms_offered: list[str]
    """The login mechanisms that the server offers, at `auth`."""
    mechanism: str | None
    """The mechanism that Heloise used."""


class StatsGroup(TypedDict):
    """The recipients of one group."""

    key: str | None
    """The profile's name, the tag, the domain, or the start of the hour or day."""
    recipients: int
    statuses: dict[str, int]
    """Recipients by status."""
    reports: dict[str, int]
    """Recipients by kind of report."""


class StatsRead(TypedDict):
    """Numbers of recipients by status and report."""

    by: Dimension | None
    created_after: str
    created_before: str
    groups: list[StatsGroup]
    """At most 1000 groups, largest first; hours and days in order."""


class SubmissionRead(TypedDict):
    """An ended session of an SMTP client."""

    id: str
    """The session's id."""
    tenant_id: str | None
    """The tenant of the key."""
    key_id: str | None
    profile_id: str | None
    """The profile that the login names."""
    client_address: str | None
    """The client's IP address."""
    client_port: int | None
    tls: str | None
    """The version of TLS and the cipher."""
    login: str | None
    """The user name as the client sent it, at most 100 characters."""
    login_reply: str | None
    """The reply to the login."""
    ehlo_name: str | None
    """The name that the client sent in EHLO."""
    outcome: str
    """Why the session ended: a sentence, or the reply that ended it."""
    started_at: str
    ended_at: str
    message_count: int
    """The number of accepted messages."""
    transaction_count: int
    """The number of MAIL commands."""
    transactions: list[SubmissionTransaction]
    """The first 50 transactions."""
    message_ids: list[str]
    """The ids of the first 1000 accepted messages."""


class SubmissionRecipient(TypedDict):
    """A recipient in RCPT TO."""

    address: str
    reply: str
    """The reply to RCPT."""


class SubmissionTransaction(TypedDict):
    """An attempt to submit a message."""

    mail_from: str
    """The address in MAIL FROM."""
    mail_reply: str
    """The reply to MAIL."""
    recipient_count: int
    recipients: list[SubmissionRecipient]
    """The first recipients: at most 100 in all transactions of a session."""
    reply: str | None
    """The reply to the content."""
    message_id: str | None
    """The id of the message."""


class SuppressionCreate(TypedDict, total=False):
    """An address or a pattern to suppress."""

    address: Required[str]
    """An address, or a pattern: `*@example.com` covers all addresses of a domain, `*.example.com`
    those of its subdomains, but not of the domain itself."""
    tag: str | None
    """Suppress only messages with this tag."""
    reason: SuppressionReason | None
    detail: str | None
    """A note of your own."""


class SuppressionRead(TypedDict):
    """A suppressed address or pattern."""

    id: str
    address: str
    """The address or the pattern, in lower case, the domain as an A-label."""
    tag: str | None
    """Suppresses only messages with this tag."""
    reason: SuppressionReason
    detail: str | None
    created_at: str


class SuppressionsImported(TypedDict):
    """The result of an import."""

    created: int
    existing: int
    """Lines that name an existing suppression, which stays as it is."""
    invalid: int
    errors: list[InvalidLine]
    """The first 100 invalid lines."""


class TemplateCreate(TypedDict, total=False):
    """A new template and its first draft."""

    subject: str | None
    """The subject."""
    text: str | None
    """The plain text."""
    html: str | None
    """HTML."""
    mjml: str | None
    """MJML, which Heloise turns into HTML."""
    name: Required[str]
    locales: Mapping[str, Parts] | None
    """Parts by language."""
    variables_schema: Mapping[str, Any] | None
    """A JSON Schema that `variables` must match."""
    inline_css: bool | None
    """Whether to copy `<style>` rules into the elements, too."""


class TemplatePreview(TypedDict, total=False):
    """Options of a preview."""

    variables: Mapping[str, Any] | None
    """Values for the template's variables, such as `{{ name }}`."""
    locale: str | None
    version: int | None
    """Default: the latest version."""


class TemplatePublish(TypedDict, total=False):
    """The version to publish."""

    version: int | None
    """Default: the draft."""


class TemplateRead(TypedDict):
    """A template."""

    id: str
    name: str
    published: int | None
    """The published version."""
    created_at: str
    updated_at: str


class TemplateRendered(TypedDict):
    """A rendered template."""

    version: int
    subject: str | None
    text: str | None
    html: str | None


_TemplateTest = TypedDict("_TemplateTest", {"from": "str | AddressObject | None"}, total=False)


class TemplateTest(_TemplateTest, total=False):
    """Options of a test message."""

    variables: Mapping[str, Any] | None
    """Values for the template's variables, such as `{{ name }}`."""
    locale: str | None
    version: int | None
    """Default: the latest version."""
    to: Required[str | AddressObject | Sequence[str | AddressObject]]
    profile: str | None


class TemplateUpdate(TypedDict, total=False):
    """Changes to the draft."""

    subject: str | None
    """The subject."""
    text: str | None
    """The plain text."""
    html: str | None
    """HTML."""
    mjml: str | None
    """MJML, which Heloise turns into HTML."""
    name: str | None
    locales: Mapping[str, Parts] | None
    variables_schema: Mapping[str, Any] | None
    """A JSON Schema that `variables` must match."""
    inline_css: bool | None


class TemplateVersionRead(TypedDict):
    """A version of a template."""

    subject: str | None
    text: str | None
    html: str | None
    mjml: str | None
    number: int
    locales: dict[str, PartsRead]
    variables_schema: Any
    inline_css: bool
    published_at: str | None
    """When the version was first published."""
    created_at: str
    updated_at: str


class TemplateVersions(TypedDict):
    """The versions of a template, newest first."""

    items: list[TemplateVersionRead]


class TenantCreate(TypedDict, total=False):
    """A new tenant."""

    slug: Required[str]
    """A unique short name: 1 to 63 of a-z, 0-9 and inner hyphens."""
    name: str | None
    """A display name."""
    ehlo_name: str | None
    """The EHLO name of profiles that set none."""
    rate_limit: RateLimit | None
    """The limit of all profiles together, in addition to their own limits."""
    quota: Quota | None
    """What the tenant may use."""
    allowed_from: Sequence[str] | None
    """Sender addresses that the tenant may use, within those that each profile allows:
    `user@example.com`, `*@example.com` or `*@*.example.com`."""
    retention: Retention | None
    """Retention periods."""
    redirect_all_to: str | None
    """For test tenants: the address that receives all messages."""
    allowed_recipient_domains: Sequence[str] | None
    """Recipient domains that the tenant sends to, such as `example.com` or `*.example.com`."""
    suppresses_hard_bounces: bool | None
    """Whether Heloise suppresses a recipient that a server does not know (RCPT refused with 5.1.1,
    5.1.6, 5.1.10 or 5.2.1), with the reason `hard_bounce`."""


class TenantRead(TypedDict):
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
    notify: NotifyRead | None
    """Who gets mail when a profile fails and when it recovers."""
    created_at: str
    updated_at: str


class TenantUpdate(TypedDict, total=False):
    """Changes to a tenant."""

    slug: str | None
    name: str | None
    ehlo_name: str | None
    """The EHLO name of profiles that set none."""
    rate_limit: RateLimit | None
    """The limit of all profiles together, in addition to their own limits."""
    quota: Quota | None
    allowed_from: Sequence[str] | None
    retention: Retention | None
    redirect_all_to: str | None
    """For test tenants: the address that receives all messages."""
    allowed_recipient_domains: Sequence[str] | None
    suppresses_hard_bounces: bool | None
    notify: Notify | None
    """Who gets mail when a profile of the tenant fails and when it recovers, with the server's
    reply and what to do."""


class ThroughputRead(TypedDict):
    """What left the queue in the last minutes."""

    since: str
    """Five minutes ago; later if there were more than 20000 attempts since then."""
    attempts: dict[str, int]
    """Attempts by verdict: `delivered`, `defer` (Heloise tries again later), `bounce`, `again`
    (Heloise sends in another transaction at once)."""


class Timeouts(TypedDict, total=False):
    """Timeouts in seconds."""

    connect: float | None
    """For connecting, TLS included."""
    command: float | None
    """For the reply to a command."""
    data: float | None
    """For the reply to a whole message."""


class TimeoutsRead(TypedDict):
    """Timeouts in seconds."""

    connect: float
    command: float
    data: float


class TimeoutsUpdate(TypedDict, total=False):
    """Changes to the timeouts."""

    connect: float | None
    command: float | None
    data: float | None


class TranscriptLine(TypedDict):
    """A line of a dialogue."""

    ms: float
    """Milliseconds since the start of the connection."""
    stage: Stage
    by: str
    """`client`, `server`, or `note` for a remark by Heloise."""
    text: str


class UnsavedVerify(TypedDict, total=False):
    """A profile as in `POST /profiles`, and options of verify."""

    name: str | None
    """Unique in the tenant: 1 to 100 letters, digits, `.`, `_` and `-`."""
    transport: Transport | None
    """`sandbox` accepts every message and sends none."""
    host: str | None
    port: int | None
    """The TCP port: 587 with `starttls`, 465 with `implicit`."""
    tls: TlsMode | None
    """`starttls` (required), `implicit` (TLS from the first byte), `opportunistic` (TLS if offered,
    certificate not verified), `none`."""
    tls_ca: str | None
    """Certificates (PEM) to trust instead of the public authorities."""
    client_certificate: str | None
    """The client certificate (PEM), chain included."""
    client_key: str | None
    """The private key of the client certificate (PEM)."""
    tls_min_version: Literal["1.0", "1.1", "1.2", "1.3"] | None
    """The minimum TLS version. 1.0 and 1.1 are deprecated (RFC 8996) and also allow weak keys and
    signatures."""
    tls_server_name: str | None
    tls_pins: Sequence[str] | None
    """Pinned keys: `sha256/` and the base64 of the key's SHA-256 (RFC 7469)."""
    ehlo_name: str | None
    """The name that Heloise sends in EHLO: a fully qualified domain name, or an address literal
    such as `[192.0.2.1]`."""
    source_address: str | None
    auth: Auth | None
    default_from: str | AddressObject | None
    """The sender of messages without `from`."""
    allowed_from: Sequence[str] | None
    """Allowed sender addresses: `user@example.com`, `*@example.com`, `*@*.example.com`."""
    max_connections: int | None
    """The maximum number of connections, over all workers."""
    max_messages_per_connection: int | None
    """Heloise closes a connection after this number of messages."""
    rate_limit: RateLimit | None
    ramp: Ramp | None
    destinations: Sequence[Destination] | None
    """Limits by the domains of recipients; the first that matches counts."""
    timeouts: Timeouts | None
    retry: Retry | None
    fallback_profile: str | None
    fallback_after_seconds: int | None
    is_default: bool | None
    """Whether this profile sends messages without `profile`."""
    recipient: str | AddressObject | None
    """A recipient for RCPT TO."""
    sender: str | AddressObject | None
    """The address for MAIL FROM."""


class UnsubscribeBody(TypedDict, total=False):
    """How a reader unsubscribes: by URL, by mail, or both (RFC 2369)."""

    url: str | None
    """At most 800 bytes in ASCII."""
    mailto: str | None
    """An address with the subject that `POST /inbound/bounces` and mailboxes recognize:
    `?subject=unsubscribe` (added by default), or `?subject=unsubscribe%20TAG` to unsubscribe only
    from messages with that tag."""
    one_click: bool | None
    """Whether a POST to the URL unsubscribes (RFC 8058)."""


class UsageRead(TypedDict):
    """The limits and their use."""

    limits: list[LimitRead]


class VerifyRead(TypedDict):
    """The result of verify."""

    ok: bool
    """Whether all tested stages succeeded."""
    code: str | None
    """The code of the stage that failed."""
    hint: str | None
    """What to change."""
    duration_ms: float
    ehlo: EffectiveEhloRead
    stages: list[StageRead]
    advice: list[AdviceRead]
    ehlo_diagnosis: DiagnosisRead | None
    """Set if the server refused the EHLO name: other names, and the one to use."""


class WaitingRead(TypedDict):
    """Why a message or a recipient waits."""

    reason: WaitReason
    """`scheduled`: until `send_at`."""
    code: str | None
    """A stable code: the profile's `failing_code`, or the `classification` of the last reply."""
    detail: str
    """What holds it up, with the server's reply if there was one."""
    until: str | None
    """When Heloise tries next."""


class WebhookCreate(TypedDict, total=False):
    """A URL and the events to post to it."""

    name: Required[str]
    url: Required[str]
    """The URL for events: https:// without a port."""
    events: Sequence[str] | None
    """Event types."""
    profiles: Sequence[str] | None
    """Only events of these profiles, by id or name."""
    tags: Sequence[str] | None
    """Only events of messages with one of these tags."""
    first_deferral_only: bool | None
    """Whether the webhook gets only the first `recipient.deferred` of each recipient of a
    message."""
    ordered: bool | None
    """Whether an event waits until the previous one with the same `ordering_key` is delivered or
    has failed."""
    format: WebhookFormat | None
    """The form of the posts: `heloise`, or `resend` for Resend's event bodies and `svix-`
    headers."""
    enabled: bool | None
    """Whether Heloise posts events to the webhook."""


class WebhookCreated(TypedDict):
    """A webhook and its secret."""

    id: str
    name: str
    url: str
    events: list[str]
    profiles: list[str]
    """Ids of the profiles."""
    tags: list[str]
    first_deferral_only: bool
    ordered: bool
    format: WebhookFormat
    enabled: bool
    disabled_at: str | None
    disabled_reason: str | None
    """Why the webhook is disabled."""
    failing_since: str | None
    """Since when all deliveries have failed."""
    last_error: str | None
    """Why the last failed post failed, in at most 300 characters."""
    last_error_at: str | None
    waiting_since: str | None
    """Since when the event that Heloise posts next has been waiting."""
    previous_secret_expires_at: str | None
    """Until then, Heloise also signs with the previous secret."""
    created_at: str
    updated_at: str
    secret: str
    """The signing secret (Standard Webhooks), shown only this once."""


class WebhookRead(TypedDict):
    """A webhook, without its secret."""

    id: str
    name: str
    url: str
    events: list[str]
    profiles: list[str]
    """Ids of the profiles."""
    tags: list[str]
    first_deferral_only: bool
    ordered: bool
    format: WebhookFormat
    enabled: bool
    disabled_at: str | None
    disabled_reason: str | None
    """Why the webhook is disabled."""
    failing_since: str | None
    """Since when all deliveries have failed."""
    last_error: str | None
    """Why the last failed post failed, in at most 300 characters."""
    last_error_at: str | None
    waiting_since: str | None
    """Since when the event that Heloise posts next has been waiting."""
    previous_secret_expires_at: str | None
    """Until then, Heloise also signs with the previous secret."""
    created_at: str
    updated_at: str


class WebhookReplay(TypedDict, total=False):
    """The events to post again: by id, or by filters that all must match."""

    events: Sequence[str] | None
    """The events' ids."""
    status: DeliveryStatus | None
    """Only deliveries with this status."""
    created_after: str | datetime | None
    """At this time or later."""
    created_before: str | datetime | None
    """Only events created before this time."""
    cursor: str | None
    """The `next_cursor` of the previous response."""


class WebhookReplayed(TypedDict):
    """The result of a replay."""

    replayed: int
    next_cursor: str | None
    """Repeat the request with this as `cursor`."""


class WebhookRotate(TypedDict, total=False):
    """Options of a rotation."""

    overlap_seconds: int | None
    """How long Heloise also signs with the previous secret."""


class WebhookUpdate(TypedDict, total=False):
    """Changes to a webhook."""

    name: str | None
    url: str | None
    secret: str | None
    events: Sequence[str] | None
    profiles: Sequence[str] | None
    tags: Sequence[str] | None
    first_deferral_only: bool | None
    ordered: bool | None
    format: WebhookFormat | None
    enabled: bool | None
    """`true` enables the webhook and posts the events that waited."""


class WorkerRead(TypedDict):
    """A delivering process that is alive."""

    id: str
    hostname: str
    pid: int
    """The id of its process on that machine."""
    started_at: str
    seen_at: str
    """When it sent its last heartbeat."""
    leased: int
    """The messages that it is sending, of the 100000 unfinished ones that Heloise looks at."""
    leased_until: str | None
    """When its last lease ends, unless it renews the lease."""


class PageQuery(TypedDict, total=False):
    """Parameters of a list: the size of a page, and the page to begin with."""

    limit: int
    cursor: str | None


class ListMessagesQuery(PageQuery, total=False):
    """Parameters of `list_messages`."""

    id: str | Sequence[str]
    """Only the messages with these ids."""
    status: MessageStatus | Sequence[MessageStatus]
    """Only messages with one of these statuses."""
    profile: str
    """The profile's id or name."""
    tag: str
    recipient: str
    """An address in to, cc or bcc."""
    key: str
    """The id of the API key that sent it, or `admin:` and the name of an admin key."""
    source: MessageSource
    """Only messages that reached Heloise in this way."""
    request_id: str
    """The id of the request that sent it (`X-Request-ID`), or of the SMTP session."""
    message_id: str
    """The header Message-ID, with or without brackets."""
    created_after: str | datetime
    """Only messages created at this time or later (RFC 3339, with an offset)."""
    created_before: str | datetime
    """Only messages created before this time."""
    subject: str
    """Words or beginnings of words in the subject, in any order and case."""
    metadata: Sequence[str]
    """`key:value` in the metadata, or a key with any value."""


class SendRawMessageQuery(TypedDict, total=False):
    """Parameters of `send_raw_message`."""

    to: Required[Sequence[str]]
    """The recipients, with or without names."""
    return_path: str
    """The address for bounces (MAIL FROM)."""
    verp: bool
    """As in POST /messages."""
    profile: str
    """The profile's id or name."""
    tag: Sequence[str]
    send_at: str | datetime
    """When to send the message."""
    expires_at: str | datetime
    """When to give up."""
    priority: Priority
    """As in POST /messages."""
    guarantee: Guarantee
    """As in POST /messages."""
    sensitive: bool
    """As in POST /messages."""


class ExportMessagesQuery(TypedDict, total=False):
    """Parameters of `export_messages`."""

    id: str | Sequence[str]
    """Only the messages with these ids."""
    status: MessageStatus | Sequence[MessageStatus]
    """Only messages with one of these statuses."""
    profile: str
    """The profile's id or name."""
    tag: str
    recipient: str
    """An address in to, cc or bcc."""
    key: str
    """The id of the API key that sent it, or `admin:` and the name of an admin key."""
    source: MessageSource
    """Only messages that reached Heloise in this way."""
    request_id: str
    """The id of the request that sent it (`X-Request-ID`), or of the SMTP session."""
    message_id: str
    """The header Message-ID, with or without brackets."""
    created_after: str | datetime
    """Only messages created at this time or later (RFC 3339, with an offset)."""
    created_before: str | datetime
    """Only messages created before this time."""
    format: Format
    """`jsonl`: one message per line, as `GET /messages/{id}` returns it."""


class ListAttemptsQuery(PageQuery, total=False):
    """Parameters of `list_attempts`."""

    transcript: bool
    """Whether to include the SMTP dialogue of each attempt, without secrets."""


class ListMessageDeliveriesQuery(PageQuery, total=False):
    """Parameters of `list_message_deliveries`."""

    status: Sequence[DeliveryStatus]
    """Only deliveries with one of these statuses."""
    event: str
    """Only deliveries of this event."""


class GetQueueQuery(PageQuery, total=False):
    """Parameters of `get_queue`."""

    profile: str
    """Only this profile, by id or name."""


class GetQueueDepthQuery(TypedDict, total=False):
    """Parameters of `get_queue_depth`."""

    profile: str
    """Only this profile, by id or name."""


class ListTemplateVersionsQuery(TypedDict, total=False):
    """Parameters of `list_template_versions`."""

    limit: int
    """How many versions to return."""


class ListSuppressionsQuery(PageQuery, total=False):
    """Parameters of `list_suppressions`."""

    address: str
    """Only suppressions with exactly this address or pattern."""
    recipient: str
    """Only suppressions that cover this address: its own, and those of patterns."""
    tag: str
    """Only suppressions with this tag."""
    reason: Sequence[SuppressionReason]
    """Only suppressions with one of these reasons."""


class ReceiveBounceQuery(TypedDict, total=False):
    """Parameters of `receive_bounce`."""

    sent_to: str
    """The envelope recipient, if no header field names it."""


class ListEventsQuery(PageQuery, total=False):
    """Parameters of `list_events`."""

    type: Sequence[str]
    """Only these types."""
    profile: str
    """Only events of this profile, by id or name."""
    message: str
    """Only events of this message."""
    created_after: str | datetime
    """Only events later than this."""
    order: Order
    """`asc`: as they happened, to read every event once."""


class StreamEventsQuery(PageQuery, total=False):
    """Parameters of `stream_events`."""

    type: Sequence[str]
    """Only these types."""
    profile: str
    """Only events of this profile, by id or name."""
    message: str
    """Only events of this message."""
    created_after: str | datetime
    """Only events later than this."""


class ListSubmissionsQuery(PageQuery, total=False):
    """Parameters of `list_submissions`."""

    client_address: str
    """The client's IP address."""
    login: str
    """The user name."""
    message: str
    """The id of a message that the session submitted."""
    profile: str
    """The profile's id or name."""
    started_after: str | datetime
    """Only sessions that started at this time or later (RFC 3339, with an offset)."""
    started_before: str | datetime
    """Only sessions that started before this time."""


class ListWebhookDeliveriesQuery(PageQuery, total=False):
    """Parameters of `list_webhook_deliveries`."""

    status: Sequence[DeliveryStatus]
    """Only deliveries with one of these statuses."""
    event: str
    """Only deliveries of this event."""


class GetStatsQuery(TypedDict, total=False):
    """Parameters of `get_stats`."""

    by: Dimension
    """How to group."""
    profile: str
    """The profile's id or name."""
    tag: str
    created_after: str | datetime
    """Only messages accepted at this time or later."""
    created_before: str | datetime
    """Only messages accepted before this time."""


class DeleteProfileQuery(TypedDict, total=False):
    """Parameters of `delete_profile`."""

    cancel_pending: bool
    """Whether to cancel unfinished messages."""


class ListAuditLogQuery(PageQuery, total=False):
    """Parameters of `list_audit_log`."""

    action: str
    """Only entries of this action."""
    actor_kind: ActorKind
    """Only what such actors did."""
    actor_id: str
    """Only what this key, or a person in this session of the console, did."""
    actor_name: str
    """Only what actors of this name did."""
    source: str
    """Only what came from this address or machine."""
    object_id: str
    """Only entries of this object."""
    request_id: str
    """Only entries of this request (`X-Request-ID`)."""
    refused: bool
    """`true`: only refused requests."""
    created_after: str | datetime
    """Only entries written at this time or later."""
    created_before: str | datetime
    """Only entries written before this time."""


class GetReadinessQuery(TypedDict, total=False):
    """Parameters of `get_readiness`."""

    delivery: bool
    """Whether to fail while mail is due and no process delivers."""
