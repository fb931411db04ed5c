"""Whom a tenant sends nothing to."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant

revision: Final = "0009"
down_revision: Final = "0008"


def upgrade() -> None:
    """Bring the schema from 0008 to 0009."""
    op.create_table(
        "suppressions",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("tag", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text()),
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint(
            "reason IN ('manual', 'hard_bounce', 'complaint', 'unsubscribe')",
            name=op.f("ck_suppressions_reason"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
            name=op.f("fk_suppressions_tenant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppressions")),
    )
    op.create_index("ix_suppressions_tenant", "suppressions", ["tenant_id", "id"])
    op.create_index(
        "uq_suppressions_address", "suppressions", ["tenant_id", "address", "tag"], unique=True
    )


def downgrade() -> None:
    """Bring the schema from 0009 to 0008."""
    op.drop_table("suppressions")
