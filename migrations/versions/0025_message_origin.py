"""Who sent a message: the way in, and the id of the key."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0025"
down_revision: Final = "0024"

HAS_KEY: Final = sa.text("key_id IS NOT NULL")
NOT_BY_API: Final = sa.text("source <> 'api'")


def upgrade() -> None:
    """Bring the schema from 0024 to 0025; no row is rewritten, and no row is in the indexes."""
    op.add_column("messages", sa.Column("source", sa.String(8)))
    op.add_column("message_contents", sa.Column("key_id", sa.String(80)))
    op.create_index(
        "ix_message_contents_key",
        "message_contents",
        ["key_id", "message_id"],
        sqlite_where=HAS_KEY,
        postgresql_where=HAS_KEY,
    )
    op.create_index(
        "ix_messages_source",
        "messages",
        ["tenant_id", "source", "id"],
        sqlite_where=NOT_BY_API,
        postgresql_where=NOT_BY_API,
    )


def downgrade() -> None:
    """Bring the schema from 0025 to 0024."""
    op.drop_index("ix_messages_source", "messages")
    op.drop_index("ix_message_contents_key", "message_contents")
    op.drop_column("message_contents", "key_id")
    op.drop_column("messages", "source")
