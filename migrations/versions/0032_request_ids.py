"""The request that sent a message, and its trace."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0032"
down_revision: Final = "0031"


def upgrade() -> None:
    """Bring the schema from 0031 to 0032."""
    op.add_column("message_contents", sa.Column("request_id", sa.String(128)))
    op.add_column("message_contents", sa.Column("traceparent", sa.String(55)))
    op.create_index(
        "ix_message_contents_request",
        "message_contents",
        ["request_id", "message_id"],
        sqlite_where=sa.text("request_id IS NOT NULL"),
        postgresql_where=sa.text("request_id IS NOT NULL"),
    )


def downgrade() -> None:
    """Bring the schema from 0032 to 0031."""
    op.drop_index("ix_message_contents_request", "message_contents")
    op.drop_column("message_contents", "traceparent")
    op.drop_column("message_contents", "request_id")
