"""Webhooks of email providers, and the providers' ids of messages."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant, Json

revision: Final = "0029"
down_revision: Final = "0028"

HAS_PROVIDER_MESSAGE_ID: Final = sa.text("provider_message_id IS NOT NULL")


def upgrade() -> None:
    """Bring the schema from 0028 to 0029; no row is rewritten, and none is in the index."""
    op.create_table(
        "provider_webhooks",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("former_token_hash", sa.LargeBinary(32)),
        sa.Column("former_token_until", Instant()),
        sa.Column("sealed_secret", sa.LargeBinary()),
        sa.Column("public_key", sa.Text()),
        sa.Column("topic_arn", sa.String(512)),
        sa.Column("networks", Json, nullable=False),
        sa.Column("received_at", Instant()),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("unmatched", sa.BigInteger(), nullable=False),
        sa.Column("ignored", sa.BigInteger(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.CheckConstraint(
            "provider IN ('ses', 'sendgrid', 'postmark', 'mailgun', 'brevo')",
            name=op.f("ck_provider_webhooks_provider"),
        ),
        sa.CheckConstraint(
            "(former_token_hash IS NULL) = (former_token_until IS NULL)",
            name=op.f("ck_provider_webhooks_former_token_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
            name=op.f("fk_provider_webhooks_tenant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_webhooks")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_provider_webhooks_token_hash")),
        sa.UniqueConstraint(
            "former_token_hash", name=op.f("uq_provider_webhooks_former_token_hash")
        ),
    )
    op.create_index(
        "uq_provider_webhooks_tenant_name", "provider_webhooks", ["tenant_id", "name"], unique=True
    )
    op.create_index("ix_provider_webhooks_tenant", "provider_webhooks", ["tenant_id", "id"])
    op.add_column("attempts", sa.Column("provider_message_id", sa.String(255)))
    op.create_index(
        "ix_attempts_provider_message",
        "attempts",
        ["tenant_id", "provider_message_id", "message_id"],
        sqlite_where=HAS_PROVIDER_MESSAGE_ID,
        postgresql_where=HAS_PROVIDER_MESSAGE_ID,
    )


def downgrade() -> None:
    """Bring the schema from 0029 to 0028."""
    op.drop_index("ix_attempts_provider_message", "attempts")
    op.drop_column("attempts", "provider_message_id")
    op.drop_table("provider_webhooks")
