"""Whether a tenant sends nothing more to whom servers do not know."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0013"
down_revision: Final = "0012"


def upgrade() -> None:
    """Bring the schema from 0012 to 0013."""
    op.add_column(
        "tenants",
        sa.Column(
            "suppresses_hard_bounces", sa.Boolean(), nullable=False, server_default=sa.false()
        ),
    )


def downgrade() -> None:
    """Bring the schema from 0013 to 0012."""
    op.drop_column("tenants", "suppresses_hard_bounces")
