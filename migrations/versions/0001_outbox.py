"""Tenants, keys, profiles, and the outbox."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant, Json

revision: Final = "0001"
down_revision: Final = None

TABLES: Final = (
    "tenants",
    "tenant_buckets",
    "api_keys",
    "profiles",
    "lanes",
    "connection_permits",
    "messages",
    "message_contents",
    "message_tags",
    "recipients",
    "attempts",
    "workers",
)


def upgrade() -> None:
    """Bring the schema from nothing to 0001."""
    _tenants()
    _tenant_buckets()
    _api_keys()
    _profiles()
    _lanes()
    _connection_permits()
    _messages()
    _message_contents()
    _message_tags()
    _recipients()
    _attempts()
    _workers()


def _tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", Id, nullable=False),
        sa.Column("slug", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("ehlo_name", sa.String(length=255)),
        sa.Column("rate_messages", sa.Integer()),
        sa.Column("rate_recipients", sa.Integer()),
        sa.Column("rate_per_seconds", sa.Integer()),
        sa.Column("rate_burst", sa.Integer()),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.CheckConstraint(
            "(rate_per_seconds IS NOT NULL) = (rate_messages IS NOT NULL OR rate_recipients IS NOT NULL) AND (rate_messages IS NULL OR rate_recipients IS NULL) AND (rate_burst IS NULL OR rate_per_seconds IS NOT NULL)",
            name=op.f("ck_tenants_rate_whole"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("slug", name=op.f("uq_tenants_slug")),
    )


def _tenant_buckets() -> None:
    op.create_table(
        "tenant_buckets",
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("tokens", sa.Float(), nullable=False),
        sa.Column("tokens_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
            name=op.f("fk_tenant_buckets_tenant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenant_buckets")),
    )


def _connection_permits() -> None:
    op.create_table(
        "connection_permits",
        sa.Column("profile_id", Id, nullable=False),
        sa.Column("worker_id", Id, nullable=False),
        sa.Column("permits", sa.Integer(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_id"],
            ["profiles.id"],
            name=op.f("fk_connection_permits_profile_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "profile_id", "worker_id", name=op.f("pk_connection_permits")
        ),
    )
    op.create_index("ix_connection_permits_worker", "connection_permits", ["worker_id"])


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("hint", sa.String(length=16), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("scopes", Json, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant()),
        sa.Column("revoked_at", Instant()),
        sa.Column("last_used_at", Instant()),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_api_keys_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("hash", name=op.f("uq_api_keys_hash")),
    )
    op.create_index("ix_api_keys_tenant", "api_keys", ["tenant_id", "id"])


def _profiles() -> None:
    op.create_table(
        "profiles",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("transport", sa.String(length=16), nullable=False),
        sa.Column("host", sa.String(length=255)),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("tls", sa.String(length=16), nullable=False),
        sa.Column("tls_ca", sa.Text()),
        sa.Column("client_certificate", sa.Text()),
        sa.Column("sealed_client_key", sa.LargeBinary()),
        sa.Column("ehlo_name", sa.String(length=255)),
        sa.Column("source_address", sa.String(length=64)),
        sa.Column("auth_mechanism", sa.String(length=16), nullable=False),
        sa.Column("username", sa.String(length=320)),
        sa.Column("sealed_password", sa.LargeBinary()),
        sa.Column("allow_plaintext_auth", sa.Boolean(), nullable=False),
        sa.Column("default_from_address", sa.String(length=320)),
        sa.Column("default_from_name", sa.String(length=998)),
        sa.Column("allowed_from", Json, nullable=False),
        sa.Column("max_connections", sa.Integer(), nullable=False),
        sa.Column("max_messages_per_connection", sa.Integer(), nullable=False),
        sa.Column("rate_messages", sa.Integer()),
        sa.Column("rate_recipients", sa.Integer()),
        sa.Column("rate_per_seconds", sa.Integer()),
        sa.Column("rate_burst", sa.Integer()),
        sa.Column("timeout_connect_seconds", sa.Float(), nullable=False),
        sa.Column("timeout_command_seconds", sa.Float(), nullable=False),
        sa.Column("timeout_data_seconds", sa.Float(), nullable=False),
        sa.Column("retry_first_seconds", sa.Float(), nullable=False),
        sa.Column("retry_factor", sa.Float(), nullable=False),
        sa.Column("retry_cap_seconds", sa.Float(), nullable=False),
        sa.Column("retry_max_age_seconds", sa.Integer()),
        sa.Column("fallback_profile_id", Id),
        sa.Column("fallback_after_seconds", sa.Integer(), nullable=False),
        sa.Column("paused_at", Instant()),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("deleted_at", Instant()),
        sa.CheckConstraint(
            "auth_mechanism IN ('auto', 'plain', 'login', 'cram-md5', 'none')",
            name=op.f("ck_profiles_auth_mechanism"),
        ),
        sa.CheckConstraint(
            "tls IN ('starttls', 'implicit', 'opportunistic', 'none')", name=op.f("ck_profiles_tls")
        ),
        sa.CheckConstraint(
            "transport = 'sandbox' OR host IS NOT NULL", name=op.f("ck_profiles_smtp_has_host")
        ),
        sa.CheckConstraint("transport IN ('smtp', 'sandbox')", name=op.f("ck_profiles_transport")),
        sa.CheckConstraint(
            "(rate_per_seconds IS NOT NULL) = (rate_messages IS NOT NULL OR rate_recipients IS NOT NULL) AND (rate_messages IS NULL OR rate_recipients IS NULL) AND (rate_burst IS NULL OR rate_per_seconds IS NOT NULL)",
            name=op.f("ck_profiles_rate_whole"),
        ),
        sa.CheckConstraint(
            "deleted_at IS NULL OR (sealed_password IS NULL AND sealed_client_key IS NULL)",
            name=op.f("ck_profiles_deleted_holds_no_secret"),
        ),
        sa.CheckConstraint("port BETWEEN 1 AND 65535", name=op.f("ck_profiles_port")),
        sa.CheckConstraint(
            "fallback_profile_id <> id", name=op.f("ck_profiles_fallback_is_another")
        ),
        sa.ForeignKeyConstraint(
            ["fallback_profile_id"],
            ["profiles.id"],
            name=op.f("fk_profiles_fallback_profile_id"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_profiles_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profiles")),
    )
    op.create_index("ix_profiles_tenant", "profiles", ["tenant_id", "id"])
    op.create_index(
        "uq_profiles_tenant_default",
        "profiles",
        ["tenant_id"],
        unique=True,
        sqlite_where=sa.text("is_default AND deleted_at IS NULL"),
        postgresql_where=sa.text("is_default AND deleted_at IS NULL"),
    )
    op.create_index(
        "uq_profiles_tenant_name",
        "profiles",
        ["tenant_id", "name"],
        unique=True,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )


def _lanes() -> None:
    op.create_table(
        "lanes",
        sa.Column("profile_id", Id, nullable=False),
        sa.Column("failing_since", Instant()),
        sa.Column("code", sa.String(length=64)),
        sa.Column("reason", sa.Text()),
        sa.Column("next_probe_at", Instant()),
        sa.Column("faults", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.Float()),
        sa.Column("tokens_at", Instant()),
        sa.Column("concurrency", sa.Integer()),
        sa.CheckConstraint(
            "(failing_since IS NULL) = (next_probe_at IS NULL) AND (failing_since IS NULL) = (reason IS NULL) AND (failing_since IS NULL) = (code IS NULL) AND (failing_since IS NULL) = (faults = 0)",
            name=op.f("ck_lanes_failing_whole"),
        ),
        sa.CheckConstraint(
            "(tokens IS NULL) = (tokens_at IS NULL)", name=op.f("ck_lanes_tokens_whole")
        ),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profiles.id"], name=op.f("fk_lanes_profile_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("profile_id", name=op.f("pk_lanes")),
    )


def _messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("profile_id", Id, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("due_at", Instant()),
        sa.Column("turn_at", Instant(), nullable=False),
        sa.Column("lease_owner", Id),
        sa.Column("priority", sa.String(length=8), nullable=False),
        sa.Column("guarantee", sa.String(length=16), nullable=False),
        sa.Column("envelope_from", sa.String(length=320), nullable=False),
        sa.Column("recipient_count", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant()),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (status IN ('sent', 'partially_sent', 'failed', 'cancelled'))",
            name=op.f("ck_messages_finished_when_final"),
        ),
        sa.CheckConstraint(
            "(lease_owner IS NOT NULL) = (status = 'sending')",
            name=op.f("ck_messages_leased_when_sending"),
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'sending', 'held', 'sent', 'partially_sent', 'failed', 'cancelled')",
            name=op.f("ck_messages_status"),
        ),
        sa.CheckConstraint(
            "priority IN ('high', 'normal', 'low')", name=op.f("ck_messages_priority")
        ),
        sa.CheckConstraint(
            "guarantee IN ('at_least_once', 'at_most_once')", name=op.f("ck_messages_guarantee")
        ),
        sa.CheckConstraint(
            "(due_at IS NULL) = (finished_at IS NOT NULL OR status = 'held')",
            name=op.f("ck_messages_due_until_final_or_held"),
        ),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profiles.id"], name=op.f("fk_messages_profile_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_messages_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
    )
    op.create_index(
        "ix_messages_due",
        "messages",
        ["profile_id", "due_at", "id"],
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_messages_expiring",
        "messages",
        ["expires_at"],
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_messages_leased",
        "messages",
        ["lease_owner"],
        sqlite_where=sa.text("lease_owner IS NOT NULL"),
        postgresql_where=sa.text("lease_owner IS NOT NULL"),
    )
    op.create_index("ix_messages_profile", "messages", ["profile_id", "tenant_id", "id"])
    op.create_index("ix_messages_tenant", "messages", ["tenant_id", "id"])
    op.create_index("ix_messages_tenant_status", "messages", ["tenant_id", "status", "id"])


def _message_contents() -> None:
    op.create_table(
        "message_contents",
        sa.Column("message_id", Id, nullable=False),
        sa.Column("sender_address", sa.String(length=320), nullable=False),
        sa.Column("sender_name", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("message_id_header", sa.String(length=512), nullable=False),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("mime", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["messages.id"],
            name=op.f("fk_message_contents_message_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_message_contents")),
    )


def _message_tags() -> None:
    op.create_table(
        "message_tags",
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("tag", sa.String(length=64), nullable=False),
        sa.Column("message_id", Id, nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["messages.id"],
            name=op.f("fk_message_tags_message_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "tag", "message_id", name=op.f("pk_message_tags")),
    )
    op.create_index("ix_message_tags_message", "message_tags", ["message_id"])


def _recipients() -> None:
    op.create_table(
        "recipients",
        sa.Column("message_id", Id, nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("kind", sa.String(length=3), nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", Instant()),
        sa.Column("reply_code", sa.SmallInteger()),
        sa.Column("reply_enhanced_code", sa.String(length=16)),
        sa.Column("reply_text", sa.Text()),
        sa.Column("classification", sa.String(length=64)),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant()),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (status IN ('sent', 'bounced', 'expired', 'suppressed', 'cancelled'))",
            name=op.f("ck_recipients_finished_when_final"),
        ),
        sa.CheckConstraint(
            "(next_attempt_at IS NOT NULL) = (status = 'deferred')",
            name=op.f("ck_recipients_retried_when_deferred"),
        ),
        sa.CheckConstraint("kind IN ('to', 'cc', 'bcc')", name=op.f("ck_recipients_kind")),
        sa.CheckConstraint(
            "status IN ('queued', 'deferred', 'uncertain', 'sent', 'bounced', 'expired', 'suppressed', 'cancelled')",
            name=op.f("ck_recipients_status"),
        ),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["messages.id"],
            name=op.f("fk_recipients_message_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("message_id", "position", name=op.f("pk_recipients")),
    )
    op.create_index(
        "ix_recipients_address",
        "recipients",
        ["tenant_id", sa.text("lower(address)"), "message_id"],
    )


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("message_id", Id, nullable=False),
        sa.Column("profile_id", Id, nullable=False),
        sa.Column("worker", Id, nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("duration_ms", sa.Float(), nullable=False),
        sa.Column("host", sa.String(length=255)),
        sa.Column("port", sa.Integer()),
        sa.Column("remote_address", sa.String(length=64)),
        sa.Column("ehlo_name", sa.String(length=255)),
        sa.Column("ehlo_source", sa.String(length=16)),
        sa.Column("tls_version", sa.String(length=16)),
        sa.Column("tls_cipher", sa.String(length=64)),
        sa.Column("auth_mechanism", sa.String(length=16)),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("scope", sa.String(length=16)),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("classification", sa.String(length=64), nullable=False),
        sa.Column("reply_code", sa.SmallInteger()),
        sa.Column("reply_enhanced_code", sa.String(length=16)),
        sa.Column("reply_text", sa.Text()),
        sa.Column("detail", sa.Text()),
        sa.Column("outcome_unknown", sa.Boolean(), nullable=False),
        sa.Column("recipients", Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name=op.f("fk_attempts_message_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index("ix_attempts_message", "attempts", ["message_id", "id"])


def _workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", Id, nullable=False),
        sa.Column("hostname", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )


def downgrade() -> None:
    """Bring the schema from 0001 back to nothing."""
    for table in reversed(TABLES):
        op.drop_table(table)
