"""The index over expiring messages in words that no other search uses."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0039"
down_revision: Final = "0038"

INDEX: Final = "ix_messages_expiring"


def upgrade() -> None:
    """Bring the schema from 0038 to 0039."""
    _index("status IN ('queued', 'sending')")


def downgrade() -> None:
    """Bring the schema from 0039 to 0038."""
    _index("due_at IS NOT NULL")


def _index(condition: str) -> None:
    op.drop_index(INDEX, "messages")
    where = sa.text(condition)
    op.create_index(INDEX, "messages", ["expires_at"], sqlite_where=where, postgresql_where=where)
