"""A failing webhook is tried by one probe at a time, at `next_probe_at`."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Instant

revision: Final = "0021"
down_revision: Final = "0020"


def upgrade() -> None:
    """Bring the schema from 0020 to 0021."""
    op.add_column("webhooks", sa.Column("next_probe_at", Instant()))
    op.add_column(
        "webhooks", sa.Column("failed_probes", sa.Integer(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    """Bring the schema from 0021 to 0020."""
    op.drop_column("webhooks", "failed_probes")
    op.drop_column("webhooks", "next_probe_at")
