"""Define the tables of mailboxes, of their mails in progress, and of provider webhooks."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
)

from app.store.db.column_types import Id, Instant, Json
from app.store.tables.core import metadata

mailboxes = Table(
    "mailboxes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("host", String(255), nullable=False),
    Column("port", Integer, nullable=False),
    Column("tls", String(16), nullable=False),
    Column("tls_ca", Text),
    Column("username", String(320), nullable=False),
    Column("sealed_password", LargeBinary, nullable=False),
    Column("folder", String(255), nullable=False),
    Column("poll_seconds", Integer, nullable=False),
    Column("deletes_reports", Boolean, nullable=False),
    Column("disabled_at", Instant),
    # The last UID that was read, and its UIDVALIDITY.
    Column("uid_validity", BigInteger),
    Column("last_uid", BigInteger, nullable=False),
    # When it is due; while it is leased, when the lease ends.
    Column("next_poll_at", Instant, nullable=False),
    Column("polled_at", Instant),
    Column("failing_since", Instant),
    Column("reason", Text),
    Column("reports", BigInteger, nullable=False),
    Column("others", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    CheckConstraint("tls IN ('implicit', 'starttls', 'none')", name="tls"),
    CheckConstraint("port BETWEEN 1 AND 65535", name="port"),
    CheckConstraint("(failing_since IS NULL) = (reason IS NULL)", name="failing_whole"),
    Index("uq_mailboxes_tenant_name", "tenant_id", "name", unique=True),
    Index("ix_mailboxes_tenant", "tenant_id", "id"),
    Index("ix_mailboxes_due", "next_poll_at"),
)

# Mails in progress, by UID.
mailbox_mails = Table(
    "mailbox_mails",
    metadata,
    Column("mailbox_id", Id, ForeignKey("mailboxes.id", ondelete="CASCADE"), nullable=False),
    Column("uid_validity", BigInteger, nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("tries", SmallInteger, nullable=False),
    PrimaryKeyConstraint("mailbox_id", "uid"),
)

provider_webhooks = Table(
    "provider_webhooks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("provider", String(16), nullable=False),
    # SHA-256 of the token in the URL, and of the former one while it still works.
    Column("token_hash", LargeBinary(32), nullable=False, unique=True),
    Column("former_token_hash", LargeBinary(32), unique=True),
    Column("former_token_until", Instant),
    Column("sealed_secret", LargeBinary),
    Column("public_key", Text),
    Column("topic_arn", String(512)),
    Column("networks", Json, nullable=False),
    Column("received_at", Instant),
    Column("events", BigInteger, nullable=False),
    Column("unmatched", BigInteger, nullable=False),
    Column("ignored", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    CheckConstraint(
        "provider IN ('ses', 'sendgrid', 'postmark', 'mailgun', 'brevo')", name="provider"
    ),
    CheckConstraint(
        "(former_token_hash IS NULL) = (former_token_until IS NULL)", name="former_token_whole"
    ),
    Index("uq_provider_webhooks_tenant_name", "tenant_id", "name", unique=True),
    Index("ix_provider_webhooks_tenant", "tenant_id", "id"),
)
