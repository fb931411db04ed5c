"""How many outcomes of a recipient nobody knows, and how many of them are enough."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0023"
down_revision: Final = "0021"


def upgrade() -> None:
    """Bring the schema from 0021 to 0023; profiles get what new ones have."""
    op.add_column("recipients", sa.Column("unknown_outcomes", sa.SmallInteger()))
    op.add_column(
        "profiles",
        sa.Column(
            "retry_max_unknown_outcomes", sa.SmallInteger(), nullable=False, server_default="3"
        ),
    )


def downgrade() -> None:
    """Bring the schema from 0023 to 0021."""
    op.drop_column("profiles", "retry_max_unknown_outcomes")
    op.drop_column("recipients", "unknown_outcomes")
