"""People who sign in to the console through an OpenID Connect provider."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0034"
down_revision: Final = "0033"

KINDS: Final = ("admin", "key", "command_line", "unknown")
ACTOR_KIND: Final = "ck_audit_log_actor_kind"


def upgrade() -> None:
    """Bring the schema from 0033 to 0034."""
    op.add_column("console_sessions", sa.Column("issuer", sa.String(2048)))
    op.add_column("console_sessions", sa.Column("subject", sa.String(255)))
    _check_actor_kind("admin", "key", "person", "command_line", "unknown")


def downgrade() -> None:
    """Bring the schema from 0034 to 0033; people become unknown actors."""
    op.execute("UPDATE audit_log SET actor_kind = 'unknown' WHERE actor_kind = 'person'")
    _check_actor_kind(*KINDS)
    # They would have no key and no end.
    op.execute("DELETE FROM console_sessions WHERE key_hash IS NULL")
    op.drop_column("console_sessions", "subject")
    op.drop_column("console_sessions", "issuer")


def _check_actor_kind(*kinds: str) -> None:
    with op.batch_alter_table("audit_log") as table:
        if op.get_bind().dialect.name == "postgresql":  # SQLite gets a new table without it
            table.drop_constraint(op.f(ACTOR_KIND), type_="check")
        listed = ", ".join(f"'{kind}'" for kind in kinds)
        # Every row passes, so a large log is not read while nobody can write to it:
        # `heloise migrate` validates it afterwards.
        table.create_check_constraint(
            op.f(ACTOR_KIND), f"actor_kind IN ({listed})", postgresql_not_valid=True
        )
