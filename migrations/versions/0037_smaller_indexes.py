"""The index over a message's events without its tenant; room in the pages of recipients."""

from typing import Final

from alembic import op

revision: Final = "0037"
down_revision: Final = "0036"

INDEX: Final = "ix_events_message"


def upgrade() -> None:
    """Bring the schema from 0036 to 0037; pages that exist stay as they are."""
    op.drop_index(INDEX, "events")
    op.create_index(INDEX, "events", ["message_id", "transaction_id", "number"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE recipients SET (fillfactor = 70)")


def downgrade() -> None:
    """Bring the schema from 0037 to 0036."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE recipients RESET (fillfactor)")
    op.drop_index(INDEX, "events")
    op.create_index(INDEX, "events", ["message_id", "tenant_id", "transaction_id", "number"])
