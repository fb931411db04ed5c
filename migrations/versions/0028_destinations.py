"""Limits by recipients' destinations, and ramps."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant, Json

revision: Final = "0028"
down_revision: Final = "0027"

_IS_DUE: Final = sa.text("due_at IS NOT NULL")


def upgrade() -> None:
    """Bring the schema from 0027 to 0028."""
    op.add_column("profiles", sa.Column("ramp", Json))
    op.add_column(
        "profiles", sa.Column("destinations", Json, server_default="[]", nullable=False)
    )
    op.add_column(
        "lanes",
        sa.Column("has_destinations", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.create_table(
        "destination_buckets",
        sa.Column("profile_id", Id, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("rate_tokens", sa.Float()),
        sa.Column("rate_tokens_at", Instant()),
        sa.Column("ramp_tokens", sa.Float()),
        sa.Column("ramp_tokens_at", Instant()),
        sa.CheckConstraint(
            "(rate_tokens IS NULL) = (rate_tokens_at IS NULL)",
            name=op.f("ck_destination_buckets_rate_whole"),
        ),
        sa.CheckConstraint(
            "(ramp_tokens IS NULL) = (ramp_tokens_at IS NULL)",
            name=op.f("ck_destination_buckets_ramp_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["profile_id"],
            ["profiles.id"],
            name=op.f("fk_destination_buckets_profile_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("profile_id", "number", name=op.f("pk_destination_buckets")),
    )
    op.add_column(
        "messages", sa.Column("destination", sa.Integer(), server_default="0", nullable=False)
    )
    _index_due(["profile_id", "destination", "due_at", "id"])
    _recreate_permits(("profile_id", "destination", "worker_id"))


def downgrade() -> None:
    """Bring the schema from 0028 to 0027."""
    _recreate_permits(("profile_id", "worker_id"))
    _index_due(["profile_id", "due_at", "id"])
    op.drop_column("messages", "destination")
    op.drop_table("destination_buckets")
    op.drop_column("lanes", "has_destinations")
    op.drop_column("profiles", "destinations")
    op.drop_column("profiles", "ramp")


def _index_due(columns: list[str]) -> None:
    op.drop_index("ix_messages_due", table_name="messages")
    op.create_index(
        "ix_messages_due", "messages", columns, sqlite_where=_IS_DUE, postgresql_where=_IS_DUE
    )


def _build_destination() -> sa.Column[int]:
    """Build the column; its default is for workers of the former version, until they stop."""
    return sa.Column("destination", sa.Integer(), server_default="0", nullable=False)


def _recreate_permits(key: tuple[str, ...]) -> None:
    """Create the table anew: workers write their permits again at their next claim."""
    op.drop_table("connection_permits")
    op.create_table(
        "connection_permits",
        sa.Column("profile_id", Id, nullable=False),
        *([_build_destination()] if "destination" in key else []),
        sa.Column("worker_id", Id, nullable=False),
        sa.Column("permits", sa.Integer(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_id"],
            ["profiles.id"],
            name=op.f("fk_connection_permits_profile_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_connection_permits")),
    )
    op.create_index("ix_connection_permits_worker", "connection_permits", ["worker_id"])
