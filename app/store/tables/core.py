"""Define the tables, with state invariants as CHECK constraints."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    TextClause,
    false,
    func,
    literal_column,
    text,
)

from app.domain.address.folding import fold
from app.domain.delivery.status import TO_SEND
from app.store.db.column_types import Id, Instant, Json

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, *values: str) -> CheckConstraint:
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=column)


def partial_index(name: str, *columns: str, where: TextClause, unique: bool = False) -> Index:
    """Build an index over the rows that meet a condition, which queries must repeat as it is."""
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


def _rate_whole() -> CheckConstraint:
    return CheckConstraint(
        "(rate_per_seconds IS NOT NULL)"
        " = (rate_messages IS NOT NULL OR rate_recipients IS NOT NULL)"
        " AND (rate_messages IS NULL OR rate_recipients IS NULL)"
        " AND (rate_burst IS NULL OR rate_per_seconds IS NOT NULL)",
        name="rate_whole",
    )


tenants = Table(
    "tenants",
    metadata,
    Column("id", Id, primary_key=True),
    Column("slug", String(63), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("ehlo_name", String(255)),
    Column("rate_messages", Integer),
    Column("rate_recipients", Integer),
    Column("rate_per_seconds", Integer),
    Column("rate_burst", Integer),
    # The limits that are set, by name; patterns of allowed senders, empty for any.
    Column("quota", Json, nullable=False, server_default="{}"),
    Column("allowed_from", Json, nullable=False, server_default="[]"),
    # Retention periods in days, by name; unset ones are the service's.
    Column("retention", Json, nullable=False, server_default="{}"),
    # Where messages to other domains go; allowed domains.
    Column("redirect_all_to", String(320)),
    Column("allowed_recipient_domains", Json, nullable=False, server_default="[]"),
    # Whether a hard bounce suppresses the recipient.
    Column("suppresses_hard_bounces", Boolean, nullable=False, server_default=false()),
    # Who gets notices, and the profile that sends them.
    Column("notify", Json),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    _rate_whole(),
)

# When a tenant's history was last purged, and up to which message each kind is done.
purges = Table(
    "purges",
    metadata,
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("purged_at", Instant, nullable=False),
    Column("contents_until", Id),
    Column("recipients_until", Id),
    Column("attempts_until", Id),
)

# What a tenant does not send to: addresses, and patterns such as `*@example.com`. Not at all if the
# tag is empty, else not with the tag.
suppressions = Table(
    "suppressions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("address", String(320), nullable=False),
    Column("tag", String(64), nullable=False),
    Column("reason", String(16), nullable=False),
    Column("detail", Text),
    Column("created_at", Instant, nullable=False),
    _one_of("reason", "manual", "hard_bounce", "complaint", "unsubscribe"),
    Index("ix_suppressions_tenant", "tenant_id", "id"),
    Index("uq_suppressions_address", "tenant_id", "address", "tag", unique=True),
)

# Hashes of the reports that were read, so that none counts twice. Kept for a month.
inbound_reports = Table(
    "inbound_reports",
    metadata,
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("tenant_id", "digest"),
    Index("ix_inbound_reports_created", "created_at"),
)

# Requests with an idempotency key, each of which runs once; kept for a day.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    # A hash, since the key may contain personal data.
    Column("key_hash", String(64), nullable=False),
    Column("message_id", Id, nullable=False),
    Column("sealed_fingerprint", LargeBinary, nullable=False),
    Column("response", Text),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("tenant_id", "key_hash"),
    Index("ix_idempotency_keys_message", "message_id"),
    Index("ix_idempotency_keys_created", "created_at"),
)

# The usage of a tenant with a quota: of a day, of its month, and in total.
tenant_usage = Table(
    "tenant_usage",
    metadata,
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("day", Instant, nullable=False),
    Column("day_messages", BigInteger, nullable=False),
    Column("month_messages", BigInteger, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
)

# The rest of a tenant's rate limit, apart from its settings (invariant 7).
tenant_buckets = Table(
    "tenant_buckets",
    metadata,
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("tokens", Float, nullable=False),
    Column("tokens_at", Instant, nullable=False),
)

# How many more servers a tenant may verify, apart from its rate limit for sending.
verify_buckets = Table(
    "verify_buckets",
    metadata,
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("tokens", Float, nullable=False),
    Column("tokens_at", Instant, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(200), nullable=False),
    Column("hint", String(16), nullable=False),
    Column("hash", LargeBinary(32), nullable=False, unique=True),
    Column("scopes", Json, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
    # Restrictions: profile ids, patterns of senders, networks; empty for none.
    Column("profiles", Json, nullable=False, server_default="[]"),
    Column("allowed_from", Json, nullable=False, server_default="[]"),
    Column("networks", Json, nullable=False, server_default="[]"),
    Index("ix_api_keys_tenant", "tenant_id", "id"),
)

# Entries outlive their tenant, so that its deletion is recorded.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id),
    Column("at", Instant, nullable=False),
    Column("actor_kind", String(16), nullable=False),
    Column("actor_id", String(255)),
    Column("actor_name", String(255)),
    Column("source", String(255)),
    Column("action", String(64), nullable=False),
    Column("object_id", String(255)),
    Column("refused_as", String(64)),
    Column("changes", Json, nullable=False),
    Column("request_id", String(128)),
    _one_of("actor_kind", "admin", "key", "person", "command_line", "unknown"),
    Index("ix_audit_log_tenant", "tenant_id", "id"),
    Index("ix_audit_log_object", "object_id", "id"),
    Index("ix_audit_log_actor", "actor_id", "id"),
)

profiles = Table(
    "profiles",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("transport", String(16), nullable=False),
    Column("host", String(255)),
    Column("port", Integer, nullable=False),
    Column("tls", String(16), nullable=False),
    Column("tls_ca", Text),
    Column("client_certificate", Text),
    Column("sealed_client_key", LargeBinary),
    Column("tls_min_version", String(3), nullable=False, server_default="1.2"),
    # The name for SNI and the certificate, if it is not the host's.
    Column("tls_server_name", String(255)),
    Column("tls_pins", Json, nullable=False, server_default="[]"),
    Column("ehlo_name", String(255)),
    Column("source_address", String(64)),
    Column("auth_mechanism", String(16), nullable=False),
    Column("username", String(320)),
    Column("sealed_password", LargeBinary),
    Column("allow_plaintext_auth", Boolean, nullable=False),
    # How to get access tokens: grant, token_url, client_id, scope, subject.
    Column("oauth", Json),
    Column("sealed_oauth_client_secret", LargeBinary),
    Column("sealed_oauth_private_key", LargeBinary),
    Column("sealed_oauth_refresh_token", LargeBinary),
    Column("default_from_address", String(320)),
    Column("default_from_name", String(998)),
    Column("allowed_from", Json, nullable=False),
    Column("max_connections", Integer, nullable=False),
    Column("max_messages_per_connection", Integer, nullable=False),
    Column("rate_messages", Integer),
    Column("rate_recipients", Integer),
    Column("rate_per_seconds", Integer),
    Column("rate_burst", Integer),
    # The limit that grows, and the limits by recipients' domains: `Ramp` and `Destination`.
    Column("ramp", Json),
    Column("destinations", Json, nullable=False, server_default="[]"),
    Column("timeout_connect_seconds", Float, nullable=False),
    Column("timeout_command_seconds", Float, nullable=False),
    Column("timeout_data_seconds", Float, nullable=False),
    Column("retry_first_seconds", Float, nullable=False),
    Column("retry_factor", Float, nullable=False),
    Column("retry_cap_seconds", Float, nullable=False),
    Column("retry_max_age_seconds", Integer),
    Column("retry_max_unknown_outcomes", SmallInteger, nullable=False, server_default="3"),
    # The profile that takes over when this one has failed for long.
    Column("fallback_profile_id", Id, ForeignKey("profiles.id")),
    Column("fallback_after_seconds", Integer, nullable=False),
    Column("paused_at", Instant),
    # Counts changes: delivering processes compare it to find stale connections.
    Column("revision", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    # A deleted profile keeps its name for its messages; its credentials are erased.
    Column("deleted_at", Instant),
    _one_of("transport", "smtp", "sandbox"),
    _one_of("tls", "starttls", "implicit", "opportunistic", "none"),
    _one_of(
        "auth_mechanism", "auto", "oauth2", "scram-sha-256", "plain", "login", "cram-md5", "none"
    ),
    _one_of("tls_min_version", "1.0", "1.1", "1.2", "1.3"),
    CheckConstraint("port BETWEEN 1 AND 65535", name="port"),
    CheckConstraint("fallback_profile_id <> id", name="fallback_is_another"),
    CheckConstraint("transport = 'sandbox' OR host IS NOT NULL", name="smtp_has_host"),
    _rate_whole(),
    CheckConstraint(
        "deleted_at IS NULL OR (sealed_password IS NULL AND sealed_client_key IS NULL"
        " AND sealed_oauth_client_secret IS NULL AND sealed_oauth_private_key IS NULL"
        " AND sealed_oauth_refresh_token IS NULL)",
        name="deleted_holds_no_secret",
    ),
    Index("ix_profiles_tenant", "tenant_id", "id"),
    partial_index(
        "uq_profiles_tenant_name",
        "tenant_id",
        "name",
        unique=True,
        where=text("deleted_at IS NULL"),
    ),
    partial_index(
        "uq_profiles_tenant_default",
        "tenant_id",
        unique=True,
        where=text("is_default AND deleted_at IS NULL"),
    ),
)

# What changes during delivery, apart from settings: one narrow row per profile, shared by all
# replicas (invariants 6 and 7).
lanes = Table(
    "lanes",
    metadata,
    Column("profile_id", Id, ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True),
    Column("failing_since", Instant),
    Column("code", String(64)),
    Column("reason", Text),
    Column("next_probe_at", Instant),
    Column("faults", Integer, nullable=False),
    # Since when the server is silent on every connection, if the profile is not failing.
    Column("stalled_since", Instant),
    Column("tokens", Float),
    Column("tokens_at", Instant),
    # How many connections the server handles; NULL: the profile's maximum.
    Column("concurrency", Integer),
    # Whether the profile has rows in `destination_buckets`: polls read those of no other profile.
    Column("has_destinations", Boolean, nullable=False, server_default=false()),
    # The EHLO name that the server accepts, found by a diagnosis.
    Column("recommended_ehlo_name", String(255)),
    Column("recommended_why", Text),
    Column("recommended_at", Instant),
    CheckConstraint(
        "(failing_since IS NULL) = (next_probe_at IS NULL)"
        " AND (failing_since IS NULL) = (reason IS NULL)"
        " AND (failing_since IS NULL) = (code IS NULL)"
        " AND (failing_since IS NULL) = (faults = 0)",
        name="failing_whole",
    ),
    CheckConstraint("(tokens IS NULL) = (tokens_at IS NULL)", name="tokens_whole"),
    CheckConstraint(
        "(recommended_ehlo_name IS NULL) = (recommended_why IS NULL)"
        " AND (recommended_ehlo_name IS NULL) = (recommended_at IS NULL)",
        name="recommended_whole",
    ),
)

# A query must repeat this text, or its plan does not use the index.
IS_DUE: Final = text("due_at IS NOT NULL")

# The last failure of each profile whose tenant wants notices. It is due until the tenant has heard
# of the change: of the failure (`is_told`), or of the recovery.
notices = Table(
    "notices",
    metadata,
    Column("profile_id", Id, ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("failed_at", Instant, nullable=False),
    Column("recovered_at", Instant),
    Column("code", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("due_at", Instant),
    Column("is_told", Boolean, nullable=False),
    Column("told_at", Instant),
    partial_index("ix_notices_due", "due_at", where=IS_DUE),
)

# What is left of a profile's limits for each destination, shared by all replicas (invariant 7). The
# number 0 counts for the whole profile.
destination_buckets = Table(
    "destination_buckets",
    metadata,
    Column("profile_id", Id, ForeignKey("profiles.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("rate_tokens", Float),
    Column("rate_tokens_at", Instant),
    Column("ramp_tokens", Float),
    Column("ramp_tokens_at", Instant),
    PrimaryKeyConstraint("profile_id", "number"),
    CheckConstraint("(rate_tokens IS NULL) = (rate_tokens_at IS NULL)", name="rate_whole"),
    CheckConstraint("(ramp_tokens IS NULL) = (ramp_tokens_at IS NULL)", name="ramp_whole"),
)

# A profile's access token, shared by all replicas; one of them renews it at a time.
oauth_tokens = Table(
    "oauth_tokens",
    metadata,
    Column("profile_id", Id, ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True),
    # The token belongs to this revision of the settings only.
    Column("profile_revision", Integer, nullable=False),
    Column("sealed_access_token", LargeBinary),
    Column("expires_at", Instant),
    Column("renewing_by", Id),
    Column("renewing_until", Instant),
    CheckConstraint(
        "(sealed_access_token IS NULL) = (expires_at IS NULL)", name="token_has_expiry"
    ),
    CheckConstraint("(renewing_by IS NULL) = (renewing_until IS NULL)", name="renewing_whole"),
)

# How many connections a worker may open to a profile's server, or use for a destination (0: for
# all), until a moment: in total at most the `max_connections` of each (invariant 7).
connection_permits = Table(
    "connection_permits",
    metadata,
    Column("profile_id", Id, ForeignKey("profiles.id", ondelete="CASCADE"), nullable=False),
    Column("destination", Integer, nullable=False, server_default="0"),
    Column("worker_id", Id, nullable=False),
    Column("permits", Integer, nullable=False),
    Column("expires_at", Instant, nullable=False),
    PrimaryKeyConstraint("profile_id", "destination", "worker_id"),
    Index("ix_connection_permits_worker", "worker_id"),
)

# A query must repeat this text, or its plan does not use the index.
UNFINISHED: Final = text("finished_at IS NULL")
HELD: Final = text("status = 'held'")
# As `due_at IS NOT NULL`, in words that the search for due messages does not use: an index over
# their expiry would be chosen for it.
EXPIRING: Final = text("status IN ('queued', 'sending')")
NOT_SENT: Final = text("status IN ('partially_sent', 'failed', 'cancelled')")
HAS_KEY: Final = text("key_id IS NOT NULL")
HAS_REQUEST: Final = text("request_id IS NOT NULL")
NOT_BY_API: Final = text("source <> 'api'")

messages = Table(
    "messages",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id"), nullable=False),
    Column("profile_id", Id, ForeignKey("profiles.id"), nullable=False),
    Column("status", String(16), nullable=False),
    # When to look at the message next: its turn or, while it is leased, the end of the lease. One
    # column, so that one index serves new messages, retries and takeovers.
    Column("due_at", Instant),
    # Its place in the queue: its acceptance less the head start of its priority.
    Column("turn_at", Instant, nullable=False),
    Column("lease_owner", Id),
    Column("priority", String(8), nullable=False),
    Column("guarantee", String(16), nullable=False),
    Column("envelope_from", String(320), nullable=False),
    Column("recipient_count", SmallInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("finished_at", Instant),
    # The requested start; the message that this one retries.
    Column("send_at", Instant),
    Column("retry_of", Id),
    # The DSN request (RFC 3461); whether each recipient has its own return path.
    Column("dsn", Json),
    Column("has_verp", Boolean, nullable=False, server_default=false()),
    # What to delete once the message is final: its content, or all that names recipients.
    Column("wipes_content", Boolean, nullable=False, server_default=false()),
    Column("erases_recipients", Boolean, nullable=False, server_default=false()),
    # The way in; NULL where that was not recorded yet.
    Column("source", String(8)),
    # The queue in which it waits: that of its recipients' destination, else 0.
    Column("destination", Integer, nullable=False, server_default="0"),
    _one_of("status", "queued", "sending", "held", "sent", "partially_sent", "failed", "cancelled"),
    _one_of("priority", "high", "normal", "low"),
    _one_of("guarantee", "at_least_once", "at_most_once"),
    CheckConstraint(
        "(finished_at IS NOT NULL) = (status IN ('sent', 'partially_sent', 'failed', 'cancelled'))",
        name="finished_when_final",
    ),
    CheckConstraint(
        "(due_at IS NULL) = (finished_at IS NOT NULL OR status = 'held')",
        name="due_until_final_or_held",
    ),
    CheckConstraint("(lease_owner IS NOT NULL) = (status = 'sending')", name="leased_when_sending"),
    partial_index("ix_messages_due", "profile_id", "destination", "due_at", "id", where=IS_DUE),
    partial_index("ix_messages_expiring", "expires_at", where=EXPIRING),
    Index("ix_messages_tenant", "tenant_id", "id"),
    # For lists by profile, and for the foreign key when a profile row is deleted. Names both
    # columns, or SQLite would prefer the tenant's index and read all its history.
    Index("ix_messages_profile", "profile_id", "tenant_id", "id"),
    # Columns that delivery changes have only partial indexes, over unfinished messages. `sent` has
    # none: most messages have this status.
    partial_index("ix_messages_unfinished", "tenant_id", "id", where=UNFINISHED),
    # Few messages are held, and each waits for a person, whom a long queue must not delay.
    partial_index("ix_messages_held", "tenant_id", "id", where=HELD),
    partial_index("ix_messages_not_sent", "tenant_id", "status", "id", where=NOT_SENT),
    # As of `sent`: most messages come by the API.
    partial_index("ix_messages_source", "tenant_id", "source", "id", where=NOT_BY_API),
)

# Written once; only wiping updates it (invariant 2). The bytes come last, behind the columns that
# are read without them.
message_contents = Table(
    "message_contents",
    metadata,
    Column("message_id", Id, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    Column("sender_address", String(320), nullable=False),
    Column("sender_name", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("message_id_header", String(512), nullable=False),
    # The Message-ID if it was not made from the message's id, which is found without it.
    Column("given_message_id", String(512)),
    Column("metadata", Json, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("mime", LargeBinary, nullable=False),
    # The bytes of a sensitive message are encrypted with a key of their own.
    Column("is_sensitive", Boolean, nullable=False, server_default=false()),
    Column("wiped_at", Instant),
    Column("sealed_key", LargeBinary),
    # Of the key that sent it; NULL where that was not recorded yet. No foreign key: an admin key
    # has no row. In `messages`, each step of a delivery would write to its index (PostgreSQL).
    Column("key_id", String(80)),
    # Of the request or the SMTP session that sent it; the span that its spans follow.
    Column("request_id", String(128)),
    Column("traceparent", String(55)),
    # Of the client that sent it; deleted with the bytes.
    Column("client_address", String(64)),
    partial_index("ix_message_contents_key", "key_id", "message_id", where=HAS_KEY),
    partial_index("ix_message_contents_request", "request_id", "message_id", where=HAS_REQUEST),
    partial_index(
        "ix_message_contents_given_message_id",
        "given_message_id",
        "message_id",
        where=text("given_message_id IS NOT NULL"),
    ),
)

message_tags = Table(
    "message_tags",
    metadata,
    Column("tenant_id", Id, nullable=False),
    Column("tag", String(64), nullable=False),
    Column("message_id", Id, ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("tenant_id", "tag", "message_id"),
    Index("ix_message_tags_message", "message_id"),
)

_FINAL_STATUSES: Final = ("sent", "bounced", "expired", "suppressed", "cancelled")

recipients = Table(
    "recipients",
    metadata,
    Column("message_id", Id, ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
    Column("position", SmallInteger, nullable=False),
    Column("tenant_id", Id, nullable=False),
    Column("kind", String(3), nullable=False),
    Column("address", String(320), nullable=False),
    Column("name", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Instant),
    Column("reply_code", SmallInteger),
    Column("reply_enhanced_code", String(16)),
    Column("reply_text", Text),
    Column("classification", String(64)),
    Column("updated_at", Instant, nullable=False),
    Column("finished_at", Instant),
    # The folded address, unless it is ASCII: a database's lower() knows few letters or none.
    Column("folded_address", String(320)),
    # How many attempts have an unknown outcome; NULL: none.
    Column("unknown_outcomes", SmallInteger),
    # The address after a redirect.
    Column("sent_to", String(320)),
    Column("erased_at", Instant),
    # A report that came back by mail, and when.
    Column("report", String(16)),
    Column("report_code", String(16)),
    Column("report_text", Text),
    Column("reported_at", Instant),
    PrimaryKeyConstraint("message_id", "position"),
    _one_of("kind", "to", "cc", "bcc"),
    _one_of("status", "queued", "deferred", "uncertain", *_FINAL_STATUSES),
    CheckConstraint(
        f"(finished_at IS NOT NULL) = (status IN {_FINAL_STATUSES})", name="finished_when_final"
    ),
    CheckConstraint(
        "(next_attempt_at IS NOT NULL) = (status = 'deferred')", name="retried_when_deferred"
    ),
    Index(
        "ix_recipients_address",
        "tenant_id",
        text("coalesce(folded_address, lower(address))"),
        "message_id",
    ),
    # Pages have room for the row as it is settled: PostgreSQL then writes to no index.
    postgresql_with={"fillfactor": 70},
)

# Matches the index; its other side is the result of `domain.address.folding.fold`.
folded_address: Final[ColumnElement[str]] = func.coalesce(
    recipients.c.folded_address, func.lower(recipients.c.address)
)


def has_address(address: str) -> ColumnElement[bool]:
    """Build the condition that a recipient has this address, ignoring case."""
    return folded_address == fold(address)


def is_of_tenant(
    column: ColumnElement[str], tenant_id: str | ColumnElement[str]
) -> ColumnElement[bool]:
    """Build the tenant's condition without index: SQLite would read all its rows by it."""
    return column.concat("") == tenant_id


# Literals: parameters would be rendered at each execution.
IS_TO_SEND: Final = recipients.c.status.in_(
    [literal_column(f"'{status.value}'") for status in sorted(TO_SEND)]
)


HAS_PROVIDER_MESSAGE_ID: Final = text("provider_message_id IS NOT NULL")

attempts = Table(
    "attempts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, nullable=False),
    Column("message_id", Id, ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
    Column("profile_id", Id, nullable=False),
    Column("worker", Id, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("duration_ms", Float, nullable=False),
    Column("host", String(255)),
    Column("port", Integer),
    Column("remote_address", String(64)),
    Column("ehlo_name", String(255)),
    Column("ehlo_source", String(16)),
    Column("tls_version", String(16)),
    Column("tls_cipher", String(64)),
    Column("auth_mechanism", String(16)),
    Column("stage", String(16), nullable=False),
    Column("scope", String(16)),
    Column("verdict", String(16), nullable=False),
    Column("classification", String(64), nullable=False),
    Column("reply_code", SmallInteger),
    Column("reply_enhanced_code", String(16)),
    Column("reply_text", Text),
    Column("detail", Text),
    Column("outcome_unknown", Boolean, nullable=False),
    # One entry per recipient of the attempt: address, verdict, classification, reply.
    Column("recipients", Json, nullable=False),
    # The id that an email provider gave the message, by which its webhooks name it.
    Column("provider_message_id", String(255)),
    Index("ix_attempts_message", "message_id", "id"),
    partial_index(
        "ix_attempts_provider_message",
        "tenant_id",
        "provider_message_id",
        "message_id",
        where=HAS_PROVIDER_MESSAGE_ID,
    ),
)

# Transcripts are separate from attempts, since they are deleted after some days.
attempt_transcripts = Table(
    "attempt_transcripts",
    metadata,
    Column("attempt_id", Id, ForeignKey("attempts.id", ondelete="CASCADE"), primary_key=True),
    Column("transcript", Text, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("hostname", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    # When the PostgreSQL server started in which the worker's session holds its lock; NULL: only
    # time tells whether it lives.
    Column("server_started_at", Instant),
)
