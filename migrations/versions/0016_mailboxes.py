"""Mailboxes that are read for what comes back by mail."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant

revision: Final = "0016"
down_revision: Final = "0015"


def upgrade() -> None:
    """Bring the schema from 0015 to 0016."""
    op.create_table(
        "mailboxes",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("tls", sa.String(16), nullable=False),
        sa.Column("tls_ca", sa.Text()),
        sa.Column("username", sa.String(320), nullable=False),
        sa.Column("sealed_password", sa.LargeBinary(), nullable=False),
        sa.Column("folder", sa.String(255), nullable=False),
        sa.Column("poll_seconds", sa.Integer(), nullable=False),
        sa.Column("deletes_reports", sa.Boolean(), nullable=False),
        sa.Column("disabled_at", Instant()),
        sa.Column("uid_validity", sa.BigInteger()),
        sa.Column("last_uid", sa.BigInteger(), nullable=False),
        sa.Column("next_poll_at", Instant(), nullable=False),
        sa.Column("polled_at", Instant()),
        sa.Column("failing_since", Instant()),
        sa.Column("reason", sa.Text()),
        sa.Column("reports", sa.BigInteger(), nullable=False),
        sa.Column("others", sa.BigInteger(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.CheckConstraint(
            "tls IN ('implicit', 'starttls', 'none')", name=op.f("ck_mailboxes_tls")
        ),
        sa.CheckConstraint("port BETWEEN 1 AND 65535", name=op.f("ck_mailboxes_port")),
        sa.CheckConstraint(
            "(failing_since IS NULL) = (reason IS NULL)",
            name=op.f("ck_mailboxes_failing_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_mailboxes_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailboxes")),
    )
    op.create_index("uq_mailboxes_tenant_name", "mailboxes", ["tenant_id", "name"], unique=True)
    op.create_index("ix_mailboxes_tenant", "mailboxes", ["tenant_id", "id"])
    op.create_index("ix_mailboxes_due", "mailboxes", ["next_poll_at"])


def downgrade() -> None:
    """Bring the schema from 0016 to 0015."""
    op.drop_table("mailboxes")
