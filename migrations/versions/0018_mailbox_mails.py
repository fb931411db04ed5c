"""Mails of a mailbox are noted before they are read."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id

revision: Final = "0018"
down_revision: Final = "0017"


def upgrade() -> None:
    """Bring the schema from 0017 to 0018."""
    op.create_table(
        "mailbox_mails",
        sa.Column("mailbox_id", Id, nullable=False),
        sa.Column("uid_validity", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"],
            ["mailboxes.id"],
            name=op.f("fk_mailbox_mails_mailbox_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("mailbox_id", "uid", name=op.f("pk_mailbox_mails")),
    )


def downgrade() -> None:
    """Bring the schema from 0018 to 0017."""
    op.drop_table("mailbox_mails")
