"""What is asked of servers about notifications."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Json

revision: Final = "0012"
down_revision: Final = "0011"


def upgrade() -> None:
    """Bring the schema from 0011 to 0012."""
    op.add_column("messages", sa.Column("dsn", Json))


def downgrade() -> None:
    """Bring the schema from 0012 to 0011."""
    op.drop_column("messages", "dsn")
