"""Define the table of the console's sessions."""

from sqlalchemy import Column, ForeignKey, Index, LargeBinary, String, Table

from app.store.db.column_types import Id, Instant, Json
from app.store.tables.core import metadata

console_sessions = Table(
    "console_sessions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("token_hash", LargeBinary(32), nullable=False, unique=True),
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE")),
    Column("name", String(255), nullable=False),
    Column("key_hash", LargeBinary(32)),
    Column("scopes", Json),
    Column("source", String(64)),
    Column("created_at", Instant, nullable=False),
    Column("last_used_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("issuer", String(2048)),
    Column("subject", String(255)),
    Index("ix_console_sessions_tenant", "tenant_id", "id"),
    Index("ix_console_sessions_expires", "expires_at"),
)
