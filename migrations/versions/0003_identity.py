"""What an identity is proven and logged in by: TLS settings, OAuth, transcripts, the doctor."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Id, Instant, Json

revision: Final = "0003"
down_revision: Final = "0002"

MECHANISMS: Final = (
    "auth_mechanism IN ('auto', 'plain', 'login', 'cram-md5', 'none')",
    "auth_mechanism IN ('auto', 'oauth2', 'scram-sha-256', 'plain', 'login', 'cram-md5', 'none')",
)
NO_SECRET: Final = (
    "deleted_at IS NULL OR (sealed_password IS NULL AND sealed_client_key IS NULL)",
    "deleted_at IS NULL OR (sealed_password IS NULL AND sealed_client_key IS NULL"
    " AND sealed_oauth_client_secret IS NULL AND sealed_oauth_private_key IS NULL"
    " AND sealed_oauth_refresh_token IS NULL)",
)
PROFILE_COLUMNS: Final = (
    "tls_min_version",
    "tls_server_name",
    "tls_pins",
    "oauth",
    "sealed_oauth_client_secret",
    "sealed_oauth_private_key",
    "sealed_oauth_refresh_token",
)
RECOMMENDATION: Final = ("recommended_at", "recommended_why", "recommended_ehlo_name")


def upgrade() -> None:
    """Bring the schema from 0002 to 0003."""
    _profile_columns()
    _recommendation()
    _change_check("auth_mechanism", *MECHANISMS)
    _change_check("deleted_holds_no_secret", *NO_SECRET)
    op.create_table(
        "oauth_tokens",
        sa.Column("profile_id", Id, nullable=False),
        sa.Column("profile_revision", sa.Integer(), nullable=False),
        sa.Column("sealed_access_token", sa.LargeBinary()),
        sa.Column("expires_at", Instant()),
        sa.Column("renewing_by", Id),
        sa.Column("renewing_until", Instant()),
        sa.CheckConstraint(
            "(sealed_access_token IS NULL) = (expires_at IS NULL)",
            name=op.f("ck_oauth_tokens_token_has_expiry"),
        ),
        sa.CheckConstraint(
            "(renewing_by IS NULL) = (renewing_until IS NULL)",
            name=op.f("ck_oauth_tokens_renewing_whole"),
        ),
        _cascade("oauth_tokens", "profile_id", "profiles"),
        sa.PrimaryKeyConstraint("profile_id", name=op.f("pk_oauth_tokens")),
    )
    op.create_table(
        "attempt_transcripts",
        sa.Column("attempt_id", Id, nullable=False),
        sa.Column("transcript", sa.Text(), nullable=False),
        _cascade("attempt_transcripts", "attempt_id", "attempts"),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_attempt_transcripts")),
    )
    op.create_table(
        "verify_buckets",
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("tokens", sa.Float(), nullable=False),
        sa.Column("tokens_at", Instant(), nullable=False),
        _cascade("verify_buckets", "tenant_id", "tenants"),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_verify_buckets")),
    )


def _profile_columns() -> None:
    op.add_column(
        "profiles",
        sa.Column(
            "tls_min_version",
            sa.String(length=3),
            sa.CheckConstraint(
                "tls_min_version IN ('1.0', '1.1', '1.2', '1.3')",
                name=op.f("ck_profiles_tls_min_version"),
            ),
            nullable=False,
            server_default="1.2",
        ),
    )
    op.add_column("profiles", sa.Column("tls_server_name", sa.String(length=255)))
    op.add_column("profiles", sa.Column("tls_pins", Json, nullable=False, server_default="[]"))
    op.add_column("profiles", sa.Column("oauth", Json))
    for name in PROFILE_COLUMNS[-3:]:
        op.add_column("profiles", sa.Column(name, sa.LargeBinary()))


def _recommendation() -> None:
    op.add_column("lanes", sa.Column("recommended_ehlo_name", sa.String(length=255)))
    op.add_column("lanes", sa.Column("recommended_why", sa.Text()))
    op.add_column(
        "lanes",
        sa.Column(
            "recommended_at",
            Instant(),
            sa.CheckConstraint(
                "(recommended_ehlo_name IS NULL) = (recommended_why IS NULL)"
                " AND (recommended_ehlo_name IS NULL) = (recommended_at IS NULL)",
                name=op.f("ck_lanes_recommended_whole"),
            ),
        ),
    )


def _cascade(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}"), ondelete="CASCADE"
    )


def _change_check(name: str, before: str, after: str) -> None:
    """Put another CHECK in the place of one of `profiles`.

    SQLite alters none but by a new table, for which foreign keys would have to be off. Its manual
    allows for the stored text to be changed where no row changes (lang_altertable, section 7).
    """
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint(op.f(f"ck_profiles_{name}"), "profiles", type_="check")
        op.create_check_constraint(op.f(f"ck_profiles_{name}"), "profiles", after)
        return
    bind = op.get_bind()
    version = bind.execute(sa.text("PRAGMA schema_version")).scalar_one()
    bind.execute(sa.text("PRAGMA writable_schema = ON"))
    changed = bind.execute(
        sa.text(
            "UPDATE sqlite_master SET sql = replace(sql, :before, :after)"
            " WHERE type = 'table' AND name = 'profiles' AND instr(sql, :before) > 0"
        ),
        {"before": f"CHECK ({before})", "after": f"CHECK ({after})"},
    )
    bind.execute(sa.text(f"PRAGMA schema_version = {version + 1}"))
    bind.execute(sa.text("PRAGMA writable_schema = OFF"))
    if changed.rowcount != 1:
        raise RuntimeError(f"the table profiles has no CHECK ({before})")


def downgrade() -> None:
    """Bring the schema from 0003 to 0002; PostgreSQL alone can take the columns away again."""
    if op.get_bind().dialect.name == "sqlite":
        raise NotImplementedError("SQLite cannot go back from 0003: restore a copy of the file")
    for table in ("verify_buckets", "attempt_transcripts", "oauth_tokens"):
        op.drop_table(table)
    _change_check("deleted_holds_no_secret", *reversed(NO_SECRET))
    _change_check("auth_mechanism", *reversed(MECHANISMS))
    for name in RECOMMENDATION:
        op.drop_column("lanes", name)
    for name in reversed(PROFILE_COLUMNS):
        op.drop_column("profiles", name)
