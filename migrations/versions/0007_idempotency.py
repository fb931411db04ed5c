"""Which keys of requests were used."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant

revision: Final = "0007"
down_revision: Final = "0006"


def upgrade() -> None:
    """Bring the schema from 0006 to 0007."""
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("key", sa.String(260), nullable=False),
        sa.Column("message_id", Id, nullable=False),
        sa.Column("sealed_fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.Text()),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
            name=op.f("fk_idempotency_keys_tenant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_message", "idempotency_keys", ["message_id"])
    op.create_index("ix_idempotency_keys_created", "idempotency_keys", ["created_at"])


def downgrade() -> None:
    """Bring the schema from 0007 to 0006."""
    op.drop_table("idempotency_keys")
