"""Templates of messages, in versions."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant, Json

revision: Final = "0011"
down_revision: Final = "0010"


def upgrade() -> None:
    """Bring the schema from 0010 to 0011."""
    op.create_table(
        "templates",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("published", sa.Integer()),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_templates_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_templates")),
    )
    op.create_index("uq_templates_tenant_name", "templates", ["tenant_id", "name"], unique=True)
    op.create_index("ix_templates_tenant", "templates", ["tenant_id", "id"])
    op.create_table(
        "template_versions",
        sa.Column("template_id", Id, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", Json, nullable=False),
        sa.Column("published_at", Instant()),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["template_id"],
            ["templates.id"],
            name=op.f("fk_template_versions_template_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("template_id", "number", name=op.f("pk_template_versions")),
    )


def downgrade() -> None:
    """Bring the schema from 0011 to 0010."""
    op.drop_table("template_versions")
    op.drop_table("templates")
