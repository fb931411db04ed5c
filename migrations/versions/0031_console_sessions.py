"""Sessions of the console."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant, Json

revision: Final = "0031"
down_revision: Final = "0030"


def upgrade() -> None:
    """Bring the schema from 0030 to 0031."""
    op.create_table(
        "console_sessions",
        sa.Column("id", Id, nullable=False),
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("tenant_id", Id),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(32)),
        sa.Column("scopes", Json),
        sa.Column("source", sa.String(64)),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("last_used_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_console_sessions"),
        sa.UniqueConstraint("token_hash", name="uq_console_sessions_token_hash"),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
            name="fk_console_sessions_tenant_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_console_sessions_tenant", "console_sessions", ["tenant_id", "id"])
    op.create_index("ix_console_sessions_expires", "console_sessions", ["expires_at"])


def downgrade() -> None:
    """Bring the schema from 0031 to 0030."""
    op.drop_table("console_sessions")
