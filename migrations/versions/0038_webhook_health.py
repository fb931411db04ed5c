"""Why the last failed post to a webhook failed, and when."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Instant

revision: Final = "0038"
down_revision: Final = "0037"


def upgrade() -> None:
    """Bring the schema from 0037 to 0038."""
    op.add_column("webhooks", sa.Column("last_error", sa.Text))
    op.add_column("webhooks", sa.Column("last_error_at", Instant()))


def downgrade() -> None:
    """Bring the schema from 0038 to 0037."""
    op.drop_column("webhooks", "last_error_at")
    op.drop_column("webhooks", "last_error")
