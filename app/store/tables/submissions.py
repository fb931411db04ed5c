"""Define the tables of the log of SMTP submission sessions."""

from sqlalchemy import Column, ForeignKey, Index, Integer, PrimaryKeyConstraint, String, Table, Text

from app.store.db.column_types import Id, Instant, Json
from app.store.tables.core import metadata

# No foreign keys: sessions are written after they end, when their tenant may be gone.
submissions = Table(
    "submissions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id),
    Column("api_key_id", Id),
    Column("profile_id", Id),
    Column("client_address", String(64)),
    Column("client_port", Integer),
    Column("tls", String(255)),
    Column("login", String(255)),
    Column("login_reply", Text),
    Column("ehlo_name", String(255)),
    Column("outcome", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant, nullable=False),
    Column("message_count", Integer, nullable=False),
    Column("transaction_count", Integer, nullable=False),
    # The folded addresses of all transactions, each between line feeds.
    Column("addresses", Text, nullable=False),
    Column("transactions", Json, nullable=False),
    Index("ix_submissions_tenant", "tenant_id", "id"),
    Index("ix_submissions_login", "tenant_id", "login", "id"),
    Index("ix_submissions_profile", "profile_id", "id"),
    # Without the tenant: an operator looks for an address that nobody logged in from.
    Index("ix_submissions_client", "client_address", "id"),
)

# The messages that a session accepted.
submission_messages = Table(
    "submission_messages",
    metadata,
    Column("submission_id", Id, ForeignKey("submissions.id", ondelete="CASCADE"), nullable=False),
    Column("message_id", Id, nullable=False),
    PrimaryKeyConstraint("submission_id", "message_id"),
    Index("ix_submission_messages_message", "message_id", "submission_id"),
)
