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
    # The limits that there are, by name; patterns on whom it may send as, any where empty.
    Column("quota", Json, nullable=False, server_default="{}"),
    Column("allowed_from", Json, nullable=False, server_default="[]"),
    # How many days what is kept, by name; the service's own where it says nothing.
    Column("retention", Json, nullable=False, server_default="{}"),
    # Where everything goes that may not go to whom it is for; which domains it may.
    Column("redirect_all_to", String(320)),
    Column("allowed_recipient_domains", Json, nullable=False, server_default="[]"),
    # Whether somebody whom a server does not know is sent nothing more.
    Column("suppresses_hard_bounces", Boolean, nullable=False, server_default=false()),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    _rate_whole(),
)

# When a tenant's history was last purged, and up to which message: what is older is done.
purges = Table(
    "purges",
    metadata,
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("purged_at", Instant, nullable=False),
    Column("contents_until", Id),
    Column("recipients_until", Id),
    Column("attempts_until", Id),
)

# Whom a tenant sends nothing to: nothing at all where the tag is empty, else nothing with the tag.
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

# Reports that were read, by a hash of their bytes: none is told twice. Kept for a month.
inbound_reports = Table(
    "inbound_reports",
    metadata,
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("tenant_id", "digest"),
    Index("ix_inbound_reports_created", "created_at"),
)

# Requests that came with a key, each of which is done once; kept for a day.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    # The key itself may name somebody.
    Column("key_hash", String(64), nullable=False),
    Column("message_id", Id, nullable=False),
    Column("sealed_fingerprint", LargeBinary, nullable=False),
    Column("response", Text),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("tenant_id", "key_hash"),
    Index("ix_idempotency_keys_message", "message_id"),
    Index("ix_idempotency_keys_created", "created_at"),
)

# What a tenant with a quota has used: on a day, in its month, and in all.
tenant_usage = Table(
    "tenant_usage",
    metadata,
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("day", Instant, nullable=False),
    Column("day_messages", BigInteger, nullable=False),
    Column("month_messages", BigInteger, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
)

# What is left of a tenant's rate limit, apart from what a person sets (invariant 7).
tenant_buckets = Table(
    "tenant_buckets",
    metadata,
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("tokens", Float, nullable=False),
    Column("tokens_at", Instant, nullable=False),
)

# How many more times a tenant may have servers tried, as distinct from sending through them.
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
    # What it is bound to: profiles by id, patterns on the sender, networks; none where empty.
    Column("profiles", Json, nullable=False, server_default="[]"),
    Column("allowed_from", Json, nullable=False, server_default="[]"),
    Column("networks", Json, nullable=False, server_default="[]"),
    Index("ix_api_keys_tenant", "tenant_id", "id"),
)

# It outlives the tenant that it speaks of, so that who deleted that is known.
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
    _one_of("actor_kind", "admin", "key", "command_line", "unknown"),
    Index("ix_audit_log_tenant", "tenant_id", "id"),
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
    # The name to ask for and to find in the certificate, where that is not the host's.
    Column("tls_server_name", String(255)),
    Column("tls_pins", Json, nullable=False, server_default="[]"),
    Column("ehlo_name", String(255)),
    Column("source_address", String(64)),
    Column("auth_mechanism", String(16), nullable=False),
    Column("username", String(320)),
    Column("sealed_password", LargeBinary),
    Column("allow_plaintext_auth", Boolean, nullable=False),
    # Where access tokens come from: grant, token_url, client_id, scope, subject.
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
    Column("timeout_connect_seconds", Float, nullable=False),
    Column("timeout_command_seconds", Float, nullable=False),
    Column("timeout_data_seconds", Float, nullable=False),
    Column("retry_first_seconds", Float, nullable=False),
    Column("retry_factor", Float, nullable=False),
    Column("retry_cap_seconds", Float, nullable=False),
    Column("retry_max_age_seconds", Integer),
    Column("retry_max_unknown_outcomes", SmallInteger, nullable=False, server_default="3"),
    # Whose server takes over where this one's has failed for so long.
    Column("fallback_profile_id", Id, ForeignKey("profiles.id")),
    Column("fallback_after_seconds", Integer, nullable=False),
    Column("paused_at", Instant),
    # Counts the changes: a delivering process compares it to know that its connections are stale.
    Column("revision", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    # A deleted profile stays as the name of what it sent; its credentials are erased.
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
    Index(
        "uq_profiles_tenant_name",
        "tenant_id",
        "name",
        unique=True,
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
    Index(
        "uq_profiles_tenant_default",
        "tenant_id",
        unique=True,
        sqlite_where=text("is_default AND deleted_at IS NULL"),
        postgresql_where=text("is_default AND deleted_at IS NULL"),
    ),
)

# What changes as a profile delivers, apart from what a person sets: one narrow row a profile,
# shared by all replicas (invariants 6 and 7).
lanes = Table(
    "lanes",
    metadata,
    Column("profile_id", Id, ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True),
    Column("failing_since", Instant),
    Column("code", String(64)),
    Column("reason", Text),
    Column("next_probe_at", Instant),
    Column("faults", Integer, nullable=False),
    # Since when the server has been silent on every connection, where it is not known to fail.
    Column("stalled_since", Instant),
    Column("tokens", Float),
    Column("tokens_at", Instant),
    # How many connections at a time the server was found to take; null: as many as may be.
    Column("concurrency", Integer),
    # Which EHLO name the doctor found the server to take.
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

# The access token of a profile, shared by all replicas; one of them renews it at a time.
oauth_tokens = Table(
    "oauth_tokens",
    metadata,
    Column("profile_id", Id, ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True),
    # It was asked for with the settings of this revision, and is of no use to another.
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

# How many connections a worker may have to a profile's server, until a moment: together never more
# than the profile's `max_connections` (invariant 7).
connection_permits = Table(
    "connection_permits",
    metadata,
    Column("profile_id", Id, ForeignKey("profiles.id", ondelete="CASCADE"), nullable=False),
    Column("worker_id", Id, nullable=False),
    Column("permits", Integer, nullable=False),
    Column("expires_at", Instant, nullable=False),
    PrimaryKeyConstraint("profile_id", "worker_id"),
    Index("ix_connection_permits_worker", "worker_id"),
)

# A query says the same words, or its plan does not find the index.
UNFINISHED: Final = text("finished_at IS NULL")
NOT_SENT: Final = text("status IN ('partially_sent', 'failed', 'cancelled')")

messages = Table(
    "messages",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id"), nullable=False),
    Column("profile_id", Id, ForeignKey("profiles.id"), nullable=False),
    Column("status", String(16), nullable=False),
    # When somebody should look at the message next: its turn, or, while it is leased, the moment
    # at which the lease ends. One column, so one index serves new work, retries and takeovers.
    Column("due_at", Instant),
    # Its place in the queue: when it was accepted, less the head start of its priority.
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
    # From when on it may be sent, where that was asked for; of which message it is another try.
    Column("send_at", Instant),
    Column("retry_of", Id),
    # What servers are asked about notifications (RFC 3461); whether each recipient has a
    # reverse-path of its own.
    Column("dsn", Json),
    Column("has_verp", Boolean, nullable=False, server_default=false()),
    # What happens once it is final: to its content, and to all that names its recipients.
    Column("wipes_content", Boolean, nullable=False, server_default=false()),
    Column("erases_recipients", Boolean, nullable=False, server_default=false()),
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
    Index(
        "ix_messages_due",
        "profile_id",
        "due_at",
        "id",
        sqlite_where=text("due_at IS NOT NULL"),
        postgresql_where=text("due_at IS NOT NULL"),
    ),
    Index(
        "ix_messages_expiring",
        "expires_at",
        sqlite_where=text("due_at IS NOT NULL"),
        postgresql_where=text("due_at IS NOT NULL"),
    ),
    Index("ix_messages_tenant", "tenant_id", "id"),
    # For a list by profile, and for the foreign key's own look when a profile row goes.
    # Both columns are named, lest SQLite prefer the tenant's index and read all of its history.
    Index("ix_messages_profile", "profile_id", "tenant_id", "id"),
    # What a delivery changes stands in no index but those over what is unfinished. `sent` has none:
    # most of a tenant's messages are.
    Index(
        "ix_messages_unfinished",
        "tenant_id",
        "id",
        sqlite_where=UNFINISHED,
        postgresql_where=UNFINISHED,
    ),
    Index(
        "ix_messages_not_sent",
        "tenant_id",
        "status",
        "id",
        sqlite_where=NOT_SENT,
        postgresql_where=NOT_SENT,
    ),
)

# Written once and never updated (invariant 2), but to be wiped. The bytes stand after what is read
# without them.
message_contents = Table(
    "message_contents",
    metadata,
    Column("message_id", Id, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    Column("sender_address", String(320), nullable=False),
    Column("sender_name", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("message_id_header", String(512), nullable=False),
    # The same where it was not made from the message's own id, by which it is found else.
    Column("given_message_id", String(512)),
    Column("metadata", Json, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("mime", LargeBinary, nullable=False),
    # The bytes of a sensitive message are sealed with a key of its own.
    Column("is_sensitive", Boolean, nullable=False, server_default=false()),
    Column("wiped_at", Instant),
    Column("sealed_key", LargeBinary),
    Index(
        "ix_message_contents_given_message_id",
        "given_message_id",
        "message_id",
        sqlite_where=text("given_message_id IS NOT NULL"),
        postgresql_where=text("given_message_id IS NOT NULL"),
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

FINAL_RECIPIENT: Final = "('sent', 'bounced', 'expired', 'suppressed', 'cancelled')"

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
    # The form in which the address is compared, where that is not ASCII: a database's own lower()
    # would know some letters, or none.
    Column("folded_address", String(320)),
    # How many of the attempts nobody knows the outcome of; NULL: none.
    Column("unknown_outcomes", SmallInteger),
    # Where it went instead of to `address`, if it did.
    Column("sent_to", String(320)),
    Column("erased_at", Instant),
    # What came back by mail after it was sent, and when.
    Column("report", String(16)),
    Column("report_code", String(16)),
    Column("report_text", Text),
    Column("reported_at", Instant),
    PrimaryKeyConstraint("message_id", "position"),
    _one_of("kind", "to", "cc", "bcc"),
    _one_of(
        "status",
        "queued",
        "deferred",
        "uncertain",
        "sent",
        "bounced",
        "expired",
        "suppressed",
        "cancelled",
    ),
    CheckConstraint(
        f"(finished_at IS NOT NULL) = (status IN {FINAL_RECIPIENT})", name="finished_when_final"
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
)

# As the index has it; compared with what `domain.address.folding.fold` answers.
folded_address: Final[ColumnElement[str]] = func.coalesce(
    recipients.c.folded_address, func.lower(recipients.c.address)
)


def has_address(address: str) -> ColumnElement[bool]:
    """That a recipient has this address, in any letter case."""
    return folded_address == fold(address)


# Words of the statement: as parameters they would be put into it anew each time.
IS_TO_SEND: Final = recipients.c.status.in_(
    [literal_column(f"'{each.value}'") for each in sorted(TO_SEND)]
)


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
    # One entry a recipient this attempt spoke of: address, verdict, classification, reply.
    Column("recipients", Json, nullable=False),
    Index("ix_attempts_message", "message_id", "id"),
)

# The dialogue of an attempt, apart from it: attempts stay, these go after some days.
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
)

__all__ = [
    "Instant",
    "api_keys",
    "attempt_transcripts",
    "attempts",
    "audit_log",
    "connection_permits",
    "idempotency_keys",
    "inbound_reports",
    "lanes",
    "message_contents",
    "message_tags",
    "messages",
    "metadata",
    "oauth_tokens",
    "profiles",
    "purges",
    "recipients",
    "suppressions",
    "tenant_buckets",
    "tenant_usage",
    "tenants",
    "verify_buckets",
    "workers",
]
