"""Define the tables of signing domains and their keys."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, LargeBinary, String, Table, Text

from app.store.db.column_types import Id, Instant
from app.store.tables.core import metadata

sending_domains = Table(
    "sending_domains",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    # An A-label in lower case.
    Column("domain", String(253), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Index("uq_sending_domains_tenant_domain", "tenant_id", "domain", unique=True),
    Index("ix_sending_domains_tenant", "tenant_id", "id"),
)

dkim_keys = Table(
    "dkim_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("domain_id", Id, ForeignKey("sending_domains.id", ondelete="CASCADE"), nullable=False),
    Column("selector", String(63), nullable=False),
    Column("algorithm", String(16), nullable=False),
    Column("public_key", Text, nullable=False),
    # A retired key has no private key.
    Column("sealed_private_key", LargeBinary),
    Column("created_at", Instant, nullable=False),
    # When its record was last found, unless it has gone; otherwise what is wrong with it.
    Column("found_at", Instant),
    Column("checked_at", Instant),
    Column("problem", Text),
    Column("retired_at", Instant),
    Column("record_needed_until", Instant),
    CheckConstraint("algorithm IN ('rsa-sha256', 'ed25519-sha256')", name="algorithm"),
    CheckConstraint(
        "(retired_at IS NULL) = (record_needed_until IS NULL)"
        " AND (retired_at IS NULL) = (sealed_private_key IS NOT NULL)",
        name="retired_whole",
    ),
    Index("ix_dkim_keys_domain", "domain_id", "id"),
)
