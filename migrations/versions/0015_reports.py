"""Reports that come back by mail: what they say of recipients, and which were read."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant

revision: Final = "0015"
down_revision: Final = "0014"

GIVEN: Final = sa.text("given_message_id IS NOT NULL")


def upgrade() -> None:
    """Bring the schema from 0014 to 0015."""
    op.add_column(
        "messages", sa.Column("has_verp", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("message_contents", sa.Column("given_message_id", sa.String(512)))
    # `<uuid@domain>` is made from the message's own id.
    op.execute(
        "UPDATE message_contents SET given_message_id = message_id_header"
        " WHERE replace(substr(message_id_header, 2, 36), '-', '') <> substr(message_id, 5)"
    )
    op.create_index(
        "ix_message_contents_given_message_id",
        "message_contents",
        ["given_message_id", "message_id"],
        sqlite_where=GIVEN,
        postgresql_where=GIVEN,
    )
    op.add_column("recipients", sa.Column("report", sa.String(16)))
    op.add_column("recipients", sa.Column("report_code", sa.String(16)))
    op.add_column("recipients", sa.Column("report_text", sa.Text()))
    op.add_column("recipients", sa.Column("reported_at", Instant()))
    op.create_table(
        "inbound_reports",
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
            name=op.f("fk_inbound_reports_tenant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "digest", name=op.f("pk_inbound_reports")),
    )
    op.create_index("ix_inbound_reports_created", "inbound_reports", ["created_at"])


def downgrade() -> None:
    """Bring the schema from 0015 to 0014."""
    op.drop_table("inbound_reports")
    for name in ("report", "report_code", "report_text", "reported_at"):
        op.drop_column("recipients", name)
    op.drop_index("ix_message_contents_given_message_id", table_name="message_contents")
    op.drop_column("message_contents", "given_message_id")
    op.drop_column("messages", "has_verp")
