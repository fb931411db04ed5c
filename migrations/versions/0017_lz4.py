"""Contents are compressed by LZ4, where the server can: its own way took longer than the insert."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0017"
down_revision: Final = "0016"

# PostgreSQL 14 and later, built with it.
HAS_LZ4: Final = sa.text(
    "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
)


def upgrade() -> None:
    """What is there already stays as it is compressed, and is read all the same."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql" and connection.execute(HAS_LZ4).scalar():
        op.execute("ALTER TABLE message_contents ALTER COLUMN mime SET COMPRESSION lz4")


def downgrade() -> None:
    """Bring the schema from 0017 to 0016."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql" and connection.execute(HAS_LZ4).scalar():
        op.execute("ALTER TABLE message_contents ALTER COLUMN mime SET COMPRESSION default")
