"""When a message is to be sent, and of which one it is another try."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant

revision: Final = "0008"
down_revision: Final = "0007"


def upgrade() -> None:
    """Bring the schema from 0007 to 0008."""
    op.add_column("messages", sa.Column("send_at", Instant()))
    op.add_column("messages", sa.Column("retry_of", Id))


def downgrade() -> None:
    """Bring the schema from 0008 to 0007."""
    op.drop_column("messages", "retry_of")
    op.drop_column("messages", "send_at")
