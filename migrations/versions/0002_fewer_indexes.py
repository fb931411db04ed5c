"""No index over what a delivery changes, but those over what is unfinished."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"

UNFINISHED: Final = sa.text("finished_at IS NULL")
NOT_SENT: Final = sa.text("status IN ('partially_sent', 'failed', 'cancelled')")


def upgrade() -> None:
    """Lists by status go by what is unfinished, and by what ended otherwise than sent."""
    op.drop_index("ix_messages_tenant_status", "messages")
    op.drop_index("ix_messages_leased", "messages")
    op.create_index(
        "ix_messages_unfinished",
        "messages",
        ["tenant_id", "id"],
        sqlite_where=UNFINISHED,
        postgresql_where=UNFINISHED,
    )
    op.create_index(
        "ix_messages_not_sent",
        "messages",
        ["tenant_id", "status", "id"],
        sqlite_where=NOT_SENT,
        postgresql_where=NOT_SENT,
    )


def downgrade() -> None:
    """Bring the schema from 0002 to 0001."""
    op.drop_index("ix_messages_not_sent", "messages")
    op.drop_index("ix_messages_unfinished", "messages")
    leased = sa.text("lease_owner IS NOT NULL")
    op.create_index(
        "ix_messages_leased",
        "messages",
        ["lease_owner"],
        sqlite_where=leased,
        postgresql_where=leased,
    )
    op.create_index("ix_messages_tenant_status", "messages", ["tenant_id", "status", "id"])
