"""The log of SMTP submission sessions."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant, Json

revision: Final = "0026"
down_revision: Final = "0025"


def upgrade() -> None:
    """Bring the schema from 0025 to 0026."""
    op.create_table(
        "submissions",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id),
        sa.Column("api_key_id", Id),
        sa.Column("profile_id", Id),
        sa.Column("client_address", sa.String(64)),
        sa.Column("client_port", sa.Integer()),
        sa.Column("tls", sa.String(255)),
        sa.Column("login", sa.String(255)),
        sa.Column("login_reply", sa.Text()),
        sa.Column("ehlo_name", sa.String(255)),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=False),
        sa.Column("message_count", sa.Integer(), nullable=False),
        sa.Column("transaction_count", sa.Integer(), nullable=False),
        sa.Column("addresses", sa.Text(), nullable=False),
        sa.Column("transactions", Json, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submissions")),
    )
    op.create_index("ix_submissions_tenant", "submissions", ["tenant_id", "id"])
    op.create_index("ix_submissions_login", "submissions", ["tenant_id", "login", "id"])
    op.create_index("ix_submissions_profile", "submissions", ["profile_id", "id"])
    op.create_index("ix_submissions_client", "submissions", ["client_address", "id"])
    op.create_table(
        "submission_messages",
        sa.Column("submission_id", Id, nullable=False),
        sa.Column("message_id", Id, nullable=False),
        sa.ForeignKeyConstraint(
            ["submission_id"],
            ["submissions.id"],
            name=op.f("fk_submission_messages_submission_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "submission_id", "message_id", name=op.f("pk_submission_messages")
        ),
    )
    op.create_index(
        "ix_submission_messages_message", "submission_messages", ["message_id", "submission_id"]
    )


def downgrade() -> None:
    """Bring the schema from 0026 to 0025."""
    op.drop_table("submission_messages")
    op.drop_table("submissions")
