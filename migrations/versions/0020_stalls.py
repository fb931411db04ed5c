"""Since when a profile's server has been silent on every connection."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Instant

revision: Final = "0020"
down_revision: Final = "0019"


def upgrade() -> None:
    """Bring the schema from 0019 to 0020."""
    op.add_column("lanes", sa.Column("stalled_since", Instant()))


def downgrade() -> None:
    """Bring the schema from 0020 to 0019."""
    op.drop_column("lanes", "stalled_since")
