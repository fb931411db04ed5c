"""What happened, and webhooks that are told of it."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant, Json

revision: Final = "0010"
down_revision: Final = "0009"

Number: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _pending(name: str, *columns: str) -> None:
    where = sa.text("status = 'pending'")
    op.create_index(
        name, "webhook_deliveries", list(columns), sqlite_where=where, postgresql_where=where
    )


def upgrade() -> None:
    """Bring the schema from 0009 to 0010."""
    op.create_table(
        "events",
        sa.Column("number", Number, autoincrement=True, nullable=False),
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("transaction_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("profile_id", Id),
        sa.Column("message_id", Id),
        sa.Column("position", sa.SmallInteger()),
        sa.Column("data", Json),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_events_id", "events", ["id"], unique=True)
    op.create_index("ix_events_order", "events", ["tenant_id", "transaction_id", "number"])
    op.create_index(
        "ix_events_message", "events", ["message_id", "tenant_id", "transaction_id", "number"]
    )
    op.create_table(
        "webhooks",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("event_types", Json, nullable=False),
        sa.Column("profiles", Json, nullable=False),
        sa.Column("tags", Json, nullable=False),
        sa.Column("is_ordered", sa.Boolean(), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_former_secret", sa.LargeBinary()),
        sa.Column("former_secret_until", Instant()),
        sa.Column("disabled_at", Instant()),
        sa.Column("disabled_reason", sa.Text()),
        sa.Column("failing_since", Instant()),
        sa.Column("read_transaction_id", sa.BigInteger(), nullable=False),
        sa.Column("read_number", sa.BigInteger(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.CheckConstraint(
            "(disabled_at IS NULL) = (disabled_reason IS NULL)",
            name=op.f("ck_webhooks_disabled_whole"),
        ),
        sa.CheckConstraint(
            "(sealed_former_secret IS NULL) = (former_secret_until IS NULL)",
            name=op.f("ck_webhooks_former_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_webhooks_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index("uq_webhooks_tenant_name", "webhooks", ["tenant_id", "name"], unique=True)
    op.create_index("ix_webhooks_tenant", "webhooks", ["tenant_id", "id"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("webhook_id", Id, nullable=False),
        sa.Column("event_number", Number, nullable=False),
        sa.Column("event_id", Id, nullable=False),
        sa.Column("event_type", sa.String(32), nullable=False),
        sa.Column("ordering_key", sa.String(40), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", Instant()),
        sa.Column("lease_owner", Id),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant()),
        sa.CheckConstraint(
            "status IN ('pending', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_status")
        ),
        sa.CheckConstraint(
            "(due_at IS NOT NULL) = (status = 'pending')",
            name=op.f("ck_webhook_deliveries_due_while_pending"),
        ),
        sa.CheckConstraint(
            "(finished_at IS NULL) = (status = 'pending')",
            name=op.f("ck_webhook_deliveries_finished_when_final"),
        ),
        sa.CheckConstraint(
            "lease_owner IS NULL OR status = 'pending'",
            name=op.f("ck_webhook_deliveries_leased_while_pending"),
        ),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name=op.f("fk_webhook_deliveries_webhook_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["event_number"],
            ["events.number"],
            name=op.f("fk_webhook_deliveries_event_number"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index(
        "uq_webhook_deliveries_event",
        "webhook_deliveries",
        ["webhook_id", "event_number"],
        unique=True,
    )
    op.create_index("ix_webhook_deliveries_list", "webhook_deliveries", ["webhook_id", "id"])
    op.create_index("ix_webhook_deliveries_gone", "webhook_deliveries", ["event_number"])
    _pending("ix_webhook_deliveries_due", "webhook_id", "due_at", "event_number")
    _pending("ix_webhook_deliveries_order", "webhook_id", "ordering_key", "event_number")
    op.create_table(
        "webhook_attempts",
        sa.Column("id", Id, nullable=False),
        sa.Column("delivery_id", Id, nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("duration_ms", sa.Float(), nullable=False),
        sa.Column("status_code", sa.SmallInteger()),
        sa.Column("response", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["webhook_deliveries.id"],
            name=op.f("fk_webhook_attempts_delivery_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_attempts")),
    )
    op.create_index("ix_webhook_attempts_delivery", "webhook_attempts", ["delivery_id", "id"])


def downgrade() -> None:
    """Bring the schema from 0010 to 0009."""
    for table in ("webhook_attempts", "webhook_deliveries", "webhooks", "events"):
        op.drop_table(table)
