"""Define the tables of templates."""

from sqlalchemy import Column, ForeignKey, Index, Integer, PrimaryKeyConstraint, String, Table

from app.store.db.column_types import Id, Instant, Json
from app.store.tables.core import metadata

templates = Table(
    "templates",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(100), nullable=False),
    # The number of the published version.
    Column("published", Integer),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Index("uq_templates_tenant_name", "tenant_id", "name", unique=True),
    Index("ix_templates_tenant", "tenant_id", "id"),
)

# A published version never changes. The last version may be a draft.
template_versions = Table(
    "template_versions",
    metadata,
    Column("template_id", Id, ForeignKey("templates.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("content", Json, nullable=False),
    Column("published_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    PrimaryKeyConstraint("template_id", "number"),
)
