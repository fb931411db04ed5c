"""Patterns of suppressed addresses, and webhooks that get only the first deferral.

`*@example.com` was the address of a mailbox. Now it is a pattern, so the mailbox gets quotes.
"""

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from alembic import op

from app.domain.address.parse import make_named_address
from app.domain.suppressions import build_key

revision: Final = "0027"
down_revision: Final = "0026"

suppressions: Final = sa.table(
    "suppressions", sa.column("id", sa.String), sa.column("address", sa.String)
)


def upgrade() -> None:
    """Bring the schema from 0026 to 0027."""
    _write_addresses("%*%@%", build_key)
    op.add_column(
        "webhooks",
        sa.Column("first_deferral_only", sa.Boolean(), nullable=False, server_default=sa.false()),
    )


def _write_addresses(like: str, convert: Callable[[str], str]) -> None:
    connection = op.get_bind()
    query = sa.select(suppressions).where(suppressions.c.address.like(like))
    for row in connection.execute(query).all():
        statement = sa.update(suppressions).where(suppressions.c.id == row.id)
        connection.execute(statement.values(address=convert(row.address)))


def downgrade() -> None:
    """Bring the schema from 0027 to 0026; patterns are lost."""
    is_pattern = suppressions.c.address.like("*@%") | suppressions.c.address.like("*.%")
    op.get_bind().execute(sa.delete(suppressions).where(is_pattern))
    _write_addresses('"%*%"@%', lambda address: make_named_address(address).address)
    op.drop_column("webhooks", "first_deferral_only")
