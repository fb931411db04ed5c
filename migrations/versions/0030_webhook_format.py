"""The form of a webhook's posts: Heloise's own or Resend's."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0030"
down_revision: Final = "0029"


def upgrade() -> None:
    """Bring the schema from 0029 to 0030."""
    op.add_column(
        "webhooks",
        sa.Column("format", sa.String(16), nullable=False, server_default="heloise"),
    )


def downgrade() -> None:
    """Bring the schema from 0030 to 0029."""
    op.drop_column("webhooks", "format")
