"""Define the tables of events and webhooks."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    false,
    text,
)

from app.store.db.column_types import Id, Instant, Json
from app.store.tables.core import metadata, partial_index

# SQLite assigns numbers only to an INTEGER PRIMARY KEY.
Number: Final = BigInteger().with_variant(Integer(), "sqlite")
_PENDING: Final = text("status = 'pending'")

# Append only. No foreign keys: their checks would cost more than the row.
events = Table(
    "events",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("id", Id, nullable=False),
    Column("tenant_id", Id, nullable=False),
    # Numbers are assigned in one order and committed in another; transactions show which are over.
    Column("transaction_id", BigInteger, nullable=False),
    Column("type", String(32), nullable=False),
    Column("profile_id", Id),
    Column("message_id", Id),
    Column("position", SmallInteger),
    Column("data", Json),
    Column("created_at", Instant, nullable=False),
    Index("uq_events_id", "id", unique=True),
    Index("ix_events_order", "tenant_id", "transaction_id", "number"),
    Index("ix_events_message", "message_id", "transaction_id", "number"),
    sqlite_autoincrement=True,
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("url", Text, nullable=False),
    # The filter: patterns of types, profile ids, tags; empty for any.
    Column("event_types", Json, nullable=False),
    Column("profiles", Json, nullable=False),
    Column("tags", Json, nullable=False),
    # Whether it gets only the first deferral of each recipient.
    Column("first_deferral_only", Boolean, nullable=False, server_default=false()),
    Column("is_ordered", Boolean, nullable=False),
    Column("format", String(16), nullable=False, server_default="heloise"),
    Column("sealed_secret", LargeBinary, nullable=False),
    Column("sealed_former_secret", LargeBinary),
    Column("former_secret_until", Instant),
    Column("disabled_at", Instant),
    Column("disabled_reason", Text),
    Column("failing_since", Instant),
    # When to probe a failing webhook with one event; NULL: at once.
    Column("next_probe_at", Instant),
    Column("failed_probes", Integer, nullable=False, default=0, server_default="0"),
    # Why the last failed post failed, and when.
    Column("last_error", Text),
    Column("last_error_at", Instant),
    # The position up to which events were enqueued.
    Column("read_transaction_id", BigInteger, nullable=False),
    Column("read_number", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="disabled_whole"),
    CheckConstraint(
        "(sealed_former_secret IS NULL) = (former_secret_until IS NULL)", name="former_whole"
    ),
    Index("uq_webhooks_tenant_name", "tenant_id", "name", unique=True),
    Index("ix_webhooks_tenant", "tenant_id", "id"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, nullable=False),
    Column("webhook_id", Id, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("event_number", Number, ForeignKey("events.number", ondelete="CASCADE"), nullable=False),
    Column("event_id", Id, nullable=False),
    Column("event_type", String(32), nullable=False),
    Column("ordering_key", String(40), nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    # When it is due; while it is leased, when the lease ends.
    Column("due_at", Instant),
    Column("lease_owner", Id),
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant),
    CheckConstraint("status IN ('pending', 'delivered', 'failed')", name="status"),
    CheckConstraint("(due_at IS NOT NULL) = (status = 'pending')", name="due_while_pending"),
    CheckConstraint("(finished_at IS NULL) = (status = 'pending')", name="finished_when_final"),
    CheckConstraint("lease_owner IS NULL OR status = 'pending'", name="leased_while_pending"),
    Index("uq_webhook_deliveries_event", "webhook_id", "event_number", unique=True),
    Index("ix_webhook_deliveries_list", "webhook_id", "id"),
    Index("ix_webhook_deliveries_gone", "event_number"),
    partial_index(
        "ix_webhook_deliveries_due", "webhook_id", "due_at", "event_number", where=_PENDING
    ),
    partial_index(
        "ix_webhook_deliveries_order", "webhook_id", "ordering_key", "event_number", where=_PENDING
    ),
)

# Append only: each response of the receiver.
webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("id", Id, primary_key=True),
    Column(
        "delivery_id", Id, ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), nullable=False
    ),
    Column("started_at", Instant, nullable=False),
    Column("duration_ms", Float, nullable=False),
    Column("status_code", SmallInteger),
    Column("response", Text),
    Column("error", Text),
    Index("ix_webhook_attempts_delivery", "delivery_id", "id"),
)
