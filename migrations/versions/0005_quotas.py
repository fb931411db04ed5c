"""What a tenant may use and as whom it may send, and what it has used."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant, Json

revision: Final = "0005"
down_revision: Final = "0004"


def upgrade() -> None:
    """Bring the schema from 0004 to 0005."""
    op.add_column("tenants", sa.Column("quota", Json, nullable=False, server_default="{}"))
    op.add_column("tenants", sa.Column("allowed_from", Json, nullable=False, server_default="[]"))
    op.create_table(
        "tenant_usage",
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("day", Instant(), nullable=False),
        sa.Column("day_messages", sa.BigInteger(), nullable=False),
        sa.Column("month_messages", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
            name=op.f("fk_tenant_usage_tenant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenant_usage")),
    )


def downgrade() -> None:
    """Bring the schema from 0005 to 0004."""
    op.drop_table("tenant_usage")
    op.drop_column("tenants", "allowed_from")
    op.drop_column("tenants", "quota")
