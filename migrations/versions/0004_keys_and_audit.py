"""What a key is bound to, and the log of who did what."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant, Json

revision: Final = "0004"
down_revision: Final = "0003"

BINDINGS: Final = ("profiles", "allowed_from", "networks")


def upgrade() -> None:
    """Bring the schema from 0003 to 0004."""
    for name in BINDINGS:
        op.add_column("api_keys", sa.Column(name, Json, nullable=False, server_default="[]"))
    op.create_table(
        "audit_log",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("actor_kind", sa.String(length=16), nullable=False),
        sa.Column("actor_id", sa.String(length=255)),
        sa.Column("actor_name", sa.String(length=255)),
        sa.Column("source", sa.String(length=255)),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("object_id", sa.String(length=255)),
        sa.Column("refused_as", sa.String(length=64)),
        sa.Column("changes", Json, nullable=False),
        sa.Column("request_id", sa.String(length=128)),
        sa.CheckConstraint(
            "actor_kind IN ('admin', 'key', 'command_line', 'unknown')",
            name=op.f("ck_audit_log_actor_kind"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_tenant", "audit_log", ["tenant_id", "id"])


def downgrade() -> None:
    """Bring the schema from 0004 to 0003."""
    op.drop_table("audit_log")
    for name in reversed(BINDINGS):
        op.drop_column("api_keys", name)
