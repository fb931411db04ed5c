"""Addresses in any script are found in any letter case, and keys of requests are kept as hashes.

SQLite's lower() knows the letters A to Z alone, and PostgreSQL's those of its locale.
"""

from hashlib import sha256
from typing import Final

import sqlalchemy as sa
from alembic import op

from app.domain.address.folding import fold

revision: Final = "0019"
down_revision: Final = "0018"

FOLDED: Final = sa.text("coalesce(folded_address, lower(address))")
recipients: Final = sa.table(
    "recipients",
    sa.column("message_id", sa.String),
    sa.column("position", sa.Integer),
    sa.column("address", sa.String),
    sa.column("folded_address", sa.String),
)
suppressions: Final = sa.table(
    "suppressions",
    sa.column("id", sa.String),
    sa.column("tenant_id", sa.String),
    sa.column("address", sa.String),
    sa.column("tag", sa.String),
)
keys: Final = sa.table(
    "idempotency_keys", sa.column("tenant_id", sa.String), sa.column("key", sa.String)
)


def upgrade() -> None:
    """Bring the schema from 0018 to 0019."""
    op.add_column("recipients", sa.Column("folded_address", sa.String(320)))
    _fold_recipients()
    _fold_suppressions()
    op.drop_index("ix_recipients_address", table_name="recipients")
    op.create_index("ix_recipients_address", "recipients", ["tenant_id", FOLDED, "message_id"])
    _hash_keys()
    with op.batch_alter_table("idempotency_keys") as table:
        table.alter_column(
            "key",
            new_column_name="key_hash",
            type_=sa.String(64),
            existing_type=sa.String(260),
            existing_nullable=False,
        )


def _is_beyond_ascii(column: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    if op.get_bind().dialect.name == "postgresql":
        return sa.func.octet_length(column) != sa.func.char_length(column)
    return sa.func.length(sa.cast(column, sa.LargeBinary)) != sa.func.length(column)


def _fold_recipients() -> None:
    connection = op.get_bind()
    query = sa.select(recipients.c.message_id, recipients.c.position, recipients.c.address)
    rows = connection.execute(query.where(_is_beyond_ascii(recipients.c.address))).all()
    folded = [
        {"of": row.message_id, "at": row.position, "folded": fold(row.address)} for row in rows
    ]
    if folded:
        write = sa.update(recipients).where(
            recipients.c.message_id == sa.bindparam("of"),
            recipients.c.position == sa.bindparam("at"),
        )
        connection.execute(write.values(folded_address=sa.bindparam("folded")), folded)


def _fold_suppressions() -> None:
    """Where two are of one address now, the older one stays."""
    connection = op.get_bind()
    query = (
        sa.select(suppressions)
        .where(_is_beyond_ascii(suppressions.c.address))
        .order_by(suppressions.c.id)
    )
    kept = set[tuple[str, str, str]]()
    written = list[tuple[str, str]]()
    for row in connection.execute(query).all():
        folded = fold(row.address)
        if (row.tenant_id, folded, row.tag) in kept:
            connection.execute(sa.delete(suppressions).where(suppressions.c.id == row.id))
        elif folded != row.address:
            written.append((row.id, folded))
        kept.add((row.tenant_id, folded, row.tag))
    for suppression_id, folded in written:
        of = sa.update(suppressions).where(suppressions.c.id == suppression_id)
        connection.execute(of.values(address=folded))


def _hash_keys() -> None:
    connection = op.get_bind()
    hashed = [
        {
            "of": row.tenant_id,
            "was": row.key,
            "hash": sha256(f"{row.tenant_id} {row.key}".encode()).hexdigest(),
        }
        for row in connection.execute(sa.select(keys)).all()
    ]
    if hashed:
        write = sa.update(keys).where(
            keys.c.tenant_id == sa.bindparam("of"), keys.c.key == sa.bindparam("was")
        )
        connection.execute(write.values(key=sa.bindparam("hash")), hashed)


def downgrade() -> None:
    """Bring the schema from 0019 to 0018; the keys of requests stay lost."""
    with op.batch_alter_table("idempotency_keys") as table:
        table.alter_column(
            "key_hash",
            new_column_name="key",
            type_=sa.String(260),
            existing_type=sa.String(64),
            existing_nullable=False,
        )
    op.drop_index("ix_recipients_address", table_name="recipients")
    op.create_index(
        "ix_recipients_address", "recipients", ["tenant_id", sa.text("lower(address)"), "message_id"]
    )
    op.drop_column("recipients", "folded_address")
