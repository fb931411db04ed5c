"""Workers show that they live by a lock of their database session."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Instant

revision: Final = "0036"
down_revision: Final = "0035"


def upgrade() -> None:
    """Bring the schema from 0035 to 0036."""
    op.add_column("workers", sa.Column("server_started_at", Instant))


def downgrade() -> None:
    """Bring the schema from 0036 to 0035."""
    op.drop_column("workers", "server_started_at")
