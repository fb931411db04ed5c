"""The client that sent a message; indexes for held messages and for the audit log."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0035"
down_revision: Final = "0034"

HELD: Final = sa.text("status = 'held'")


def upgrade() -> None:
    """Bring the schema from 0034 to 0035."""
    op.create_index(
        "ix_messages_held",
        "messages",
        ["tenant_id", "id"],
        sqlite_where=HELD,
        postgresql_where=HELD,
    )
    op.create_index("ix_audit_log_object", "audit_log", ["object_id", "id"])
    op.create_index("ix_audit_log_actor", "audit_log", ["actor_id", "id"])
    # Last, since it keeps acceptance out until the transaction ends.
    op.add_column("message_contents", sa.Column("client_address", sa.String(64)))


def downgrade() -> None:
    """Bring the schema from 0035 to 0034."""
    op.drop_index("ix_audit_log_actor", "audit_log")
    op.drop_index("ix_audit_log_object", "audit_log")
    op.drop_index("ix_messages_held", "messages")
    op.drop_column("message_contents", "client_address")
