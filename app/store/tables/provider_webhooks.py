"""Define the table of provider webhooks."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    Text,
)

from app.store.db.column_types import Id, Instant, Json
from app.store.tables.core import metadata

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
