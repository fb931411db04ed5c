"""What is wiped and when, and whom a tenant may send to."""

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import EPOCH, Id, Instant, Json

revision: Final = "0006"
down_revision: Final = "0005"


def upgrade() -> None:
    """Bring the schema from 0005 to 0006."""
    for table, column in _columns():
        op.add_column(table, column)
    op.create_table(
        "purges",
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("purged_at", Instant(), nullable=False),
        sa.Column("contents_until", Id),
        sa.Column("recipients_until", Id),
        sa.Column("attempts_until", Id),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
            name=op.f("fk_purges_tenant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_purges")),
    )
    tenants = sa.table("tenants", sa.column("id", Id))
    purges = sa.table("purges", sa.column("tenant_id", Id), sa.column("purged_at", Instant()))
    op.execute(
        purges.insert().from_select(
            ["tenant_id", "purged_at"], sa.select(tenants.c.id, sa.literal(EPOCH, Instant()))
        )
    )


def downgrade() -> None:
    """Bring the schema from 0006 to 0005."""
    op.drop_table("purges")
    for table, column in reversed(_columns()):
        op.drop_column(table, column.name)


def _columns() -> list[tuple[str, sa.Column[Any]]]:
    return [
        ("messages", sa.Column("wipes_content", sa.Boolean(), nullable=False, server_default=sa.false())),
        ("messages", sa.Column("erases_recipients", sa.Boolean(), nullable=False, server_default=sa.false())),
        (
            "message_contents",
            sa.Column("is_sensitive", sa.Boolean(), nullable=False, server_default=sa.false()),
        ),
        ("message_contents", sa.Column("wiped_at", Instant())),
        ("message_contents", sa.Column("sealed_key", sa.LargeBinary())),
        ("recipients", sa.Column("sent_to", sa.String(320))),
        ("recipients", sa.Column("erased_at", Instant())),
        ("tenants", sa.Column("retention", Json, nullable=False, server_default="{}")),
        ("tenants", sa.Column("redirect_all_to", sa.String(320))),
        (
            "tenants",
            sa.Column("allowed_recipient_domains", Json, nullable=False, server_default="[]"),
        ),
    ]
