"""Domains whose messages are signed, and their keys."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant

revision: Final = "0014"
down_revision: Final = "0013"


def upgrade() -> None:
    """Bring the schema from 0013 to 0014."""
    op.create_table(
        "sending_domains",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("domain", sa.String(253), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
            name=op.f("fk_sending_domains_tenant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sending_domains")),
    )
    op.create_index(
        "uq_sending_domains_tenant_domain", "sending_domains", ["tenant_id", "domain"], unique=True
    )
    op.create_index("ix_sending_domains_tenant", "sending_domains", ["tenant_id", "id"])
    op.create_table(
        "dkim_keys",
        sa.Column("id", Id, nullable=False),
        sa.Column("domain_id", Id, nullable=False),
        sa.Column("selector", sa.String(63), nullable=False),
        sa.Column("algorithm", sa.String(16), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("sealed_private_key", sa.LargeBinary()),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("found_at", Instant()),
        sa.Column("checked_at", Instant()),
        sa.Column("problem", sa.Text()),
        sa.Column("retired_at", Instant()),
        sa.Column("record_needed_until", Instant()),
        sa.CheckConstraint(
            "algorithm IN ('rsa-sha256', 'ed25519-sha256')", name=op.f("ck_dkim_keys_algorithm")
        ),
        sa.CheckConstraint(
            "(retired_at IS NULL) = (record_needed_until IS NULL)"
            " AND (retired_at IS NULL) = (sealed_private_key IS NOT NULL)",
            name=op.f("ck_dkim_keys_retired_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["sending_domains.id"],
            name=op.f("fk_dkim_keys_domain_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dkim_keys")),
    )
    op.create_index("ix_dkim_keys_domain", "dkim_keys", ["domain_id", "id"])


def downgrade() -> None:
    """Bring the schema from 0014 to 0013."""
    op.drop_table("dkim_keys")
    op.drop_table("sending_domains")
