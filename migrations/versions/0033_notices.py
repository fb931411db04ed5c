"""Notices by mail: who gets them, and what each failing profile still has to tell."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant, Json

revision: Final = "0033"
down_revision: Final = "0032"

IS_DUE: Final = sa.text("due_at IS NOT NULL")


def upgrade() -> None:
    """Bring the schema from 0032 to 0033."""
    op.add_column("tenants", sa.Column("notify", Json))
    op.create_table(
        "notices",
        sa.Column("profile_id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("failed_at", Instant(), nullable=False),
        sa.Column("recovered_at", Instant()),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("due_at", Instant()),
        sa.Column("is_told", sa.Boolean, nullable=False),
        sa.Column("told_at", Instant()),
        sa.PrimaryKeyConstraint("profile_id", name="pk_notices"),
        sa.ForeignKeyConstraint(
            ["profile_id"],
            ["profiles.id"],
            ondelete="CASCADE",
            name="fk_notices_profile_id_profiles",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], ondelete="CASCADE", name="fk_notices_tenant_id_tenants"
        ),
    )
    op.create_index(
        "ix_notices_due",
        "notices",
        ["due_at"],
        sqlite_where=IS_DUE,
        postgresql_where=IS_DUE,
    )


def downgrade() -> None:
    """Bring the schema from 0033 to 0032."""
    op.drop_table("notices")
    op.drop_column("tenants", "notify")
