"""The migrations make what the code expects, on both databases, however many run at once."""

import warnings
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    CheckConstraint,
    Connection,
    Index,
    delete,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from app.domain.audit import Actor, ActorKind, AuditEntry
from app.domain.errors import SettingsError
from app.domain.events import FIRST_POSITION, EventFilter, EventType, NewEvent
from app.domain.ids import new_id
from app.store import audit, events, idempotency, suppressions
from app.store.db.database import Database
from app.store.messages.filters import MessageFilter
from app.store.messages.queries import get, list_ids
from app.store.migrations import migrate as migrating
from app.store.migrations import schema
from app.store.profiles import queries as profile_rows
from app.store.profiles.rows import build_row
from app.store.tables import core as tables
from app.store.tables import events as event_tables
from app.store.tables.core import lanes, messages, profiles
from app.store.tables.metadata import metadata
from app.store.webhooks import queries as webhooks
from tests.support.processes.forked import Forker
from tests.support.rows import (
    NOW,
    a_profile,
    a_tenant,
    a_webhook,
    made_profile,
    made_tenant,
    queued_message,
)
from tests.support.terminal import Terminal

ROOT = Path(__file__).parents[3]


async def test_an_empty_database_has_no_schema(database_url: str) -> None:
    """Nothing is there until it is migrated."""
    database = Database(database_url)
    before = await schema.load_state(database)
    assert (before.current, before.is_current) == (None, False)
    head = await migrating.migrate(database)
    after = await schema.load_state(database)
    assert (after.current, after.head, after.is_current) == (head, head, True)
    await database.close()


async def test_the_migrated_schema_is_the_tables_in_code(database: Database) -> None:
    """Alembic finds no difference in tables, columns, types, keys and indexes."""

    def differences(connection: Connection) -> object:
        with warnings.catch_warnings():
            # SQLite's indexes over an expression are compared by their text, in the test below.
            warnings.filterwarnings("ignore", message=".*expression-based index")
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            return compare_metadata(context, metadata)

    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []


def _checks(connection: Connection) -> set[str]:
    inspector = inspect(connection)
    return {
        f"{table}.{check['name']}"
        for table in metadata.tables
        for check in inspector.get_check_constraints(table)
    }


async def test_every_check_in_code_is_in_the_database(database: Database) -> None:
    """Alembic does not compare CHECK constraints."""
    in_code = {
        f"{table.name}.{constraint.name}"
        for table in metadata.sorted_tables
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    async with database.reading() as connection:
        in_database = await connection.run_sync(_checks)
    assert in_database == in_code


async def test_every_check_is_validated(database: Database) -> None:
    """Also those that a migration adds without reading the table."""
    if not database.is_postgresql:  # SQLite copies the table, and checks each row
        return
    query = text("SELECT conname FROM pg_constraint WHERE NOT convalidated")
    async with database.reading() as connection:
        assert (await connection.execute(query)).all() == []


def _partial_and_functional() -> set[str]:
    def is_special(index: Index) -> bool:
        has_where = index.dialect_options["sqlite"]["where"] is not None
        return has_where or len(index.columns) != len(index.expressions)

    return {
        str(index.name)
        for table in metadata.sorted_tables
        for index in table.indexes
        if is_special(index)
    }


async def test_partial_indexes_are_partial(database: Database) -> None:
    """An index over what is due must not hold what is done; another is over lower(address)."""
    query = (
        "SELECT indexname AS name, indexdef AS sql FROM pg_indexes WHERE schemaname = 'public'"
        if database.is_postgresql
        else "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    )
    async with database.reading() as connection:
        rows = (await connection.execute(text(query))).all()
    special = {row.name for row in rows if " WHERE " in row.sql or "lower(" in row.sql}
    assert special == _partial_and_functional()
    assert {"ix_messages_due", "ix_recipients_address", "uq_profiles_tenant_default"} <= special


async def test_contents_are_compressed_by_lz4(database: Database) -> None:
    """PostgreSQL's own way takes longer than all the rest of writing a message of a few KB."""
    if not database.is_postgresql:  # SQLite compresses nothing
        return
    profile = await made_profile(database, await made_tenant(database))
    await queued_message(database, profile, mime=b"Thanks.\r\n" * 1000)
    query = "SELECT pg_column_compression(mime) FROM message_contents"
    async with database.reading() as connection:
        assert (await connection.execute(text(query))).scalars().all() == ["lz4"]


@pytest.mark.parametrize(
    ("state", "constraint"),
    [
        ({"status": "sent"}, "finished_when_final"),
        ({"finished_at": NOW, "due_at": None}, "finished_when_final"),
        ({"due_at": None}, "due_until_final_or_held"),
        ({"lease_owner": "wrk_1"}, "leased_when_sending"),
        ({"status": "sending"}, "leased_when_sending"),
        ({"status": "lost"}, "ck_messages_status"),
    ],
)
async def test_the_database_refuses_an_impossible_message(
    database: Database, state: dict[str, Any], constraint: str
) -> None:
    """State invariants stand as CHECK constraints: no writer may break them (invariant 4)."""
    await queued_message(database, await made_profile(database, await made_tenant(database)))
    with pytest.raises(IntegrityError, match=constraint):
        async with database.transaction() as connection:
            await connection.execute(update(messages).values(state))


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["connection"] = connection
    return config


def _upgrade_to(connection: Connection, revision: str) -> None:
    command.upgrade(_config(connection), revision)


def _downgrade_before(connection: Connection, revision: str) -> None:
    config = _config(connection)
    before = ScriptDirectory.from_config(config).get_revision(revision).down_revision
    assert isinstance(before, str)
    command.downgrade(config, before)


async def test_what_was_there_before_a_migration_is_there_after_it(database_url: str) -> None:
    """SQLite's way to change a CHECK loses no row, nor one that refers to it, nor a constraint."""
    database = Database(database_url)
    tenant = a_tenant()
    profile = a_profile(tenant)
    new = {
        "tls_min_version",
        "tls_pins",
        "tls_server_name",
        "oauth",
        "retry_max_unknown_outcomes",
        "ramp",
        "destinations",
    }
    async with database.transaction() as connection:
        await connection.run_sync(_upgrade_to, "0002")
        known = ("id", "slug", "name", "ehlo_name", "created_at", "updated_at")
        owner = {name: getattr(tenant, name) for name in known}
        await connection.execute(insert(tables.tenants).values(owner))
        old = {name: value for name, value in build_row(profile).items() if name not in new}
        await connection.execute(insert(profiles).values(old))
        await connection.execute(insert(lanes).values(profile_id=profile.id, faults=0))
    await migrating.migrate(database)
    async with database.transaction() as connection:
        assert (
            await profile_rows.get(connection, tenant_id=tenant.id, profile=profile.id) == profile
        )
        assert (await connection.execute(select(lanes.c.profile_id))).scalars().all() == [
            profile.id
        ]
        await connection.execute(update(profiles).values(auth_mechanism="oauth2"))
    with pytest.raises(IntegrityError, match="ck_profiles_auth_mechanism"):
        async with database.transaction() as connection:
            await connection.execute(update(profiles).values(auth_mechanism="gssapi"))
    await database.close()


async def test_addresses_and_keys_of_before_are_known_after(database: Database) -> None:
    """Addresses in any script are folded, two suppressions of one are one, and keys are hashed."""
    tenant = await made_tenant(database)
    profile = await made_profile(database, tenant)
    message = await queued_message(database, profile, "JÖRG@example.org", "Ann@example.org")
    made = ("νικος@example.gr", "νικοσ@example.gr", "eve@example.net")
    async with database.transaction() as connection:
        await connection.run_sync(_downgrade_before, "0019")
        for number, address in enumerate(made):
            row = {"id": f"sup_{number}", "tenant_id": tenant.id, "address": address, "tag": ""}
            more = {"reason": "manual", "detail": None, "created_at": NOW}
            await connection.execute(insert(tables.suppressions).values(row | more))
        await connection.execute(
            text(
                "INSERT INTO idempotency_keys (tenant_id, key, message_id, sealed_fingerprint,"
                " created_at) SELECT tenant_id, 'for ann', id, :sealed, created_at FROM messages"
            ),
            {"sealed": b""},
        )
    await migrating.migrate(database)
    async with database.transaction() as connection:
        for written in ("jörg@example.org", "ann@EXAMPLE.org"):
            message_filter = MessageFilter(recipient=written)
            message_ids = await list_ids(
                connection, tenant_id=tenant.id, limit=9, now=NOW, message_filter=message_filter
            )
            assert list(message_ids) == [message.id]
        left = await suppressions.page(connection, tenant_id=tenant.id, limit=9)
        assert [suppression.address for suppression in left] == [
            "eve@example.net",
            "νικοσ@example.gr",
        ]
        key_hash = sha256(f"{tenant.id} for ann".encode()).hexdigest()
        known = await idempotency.find(connection, tenant_id=tenant.id, hashes=[key_hash])
        assert known[key_hash].message_id == message.id


OLD_NAMES: Final = {
    "bounced_later": "returned",
    "mailbox.mail_skipped": "mailbox.mail_given_up",
    "recipient.bounced_later": "recipient.returned",
    "scope-exceeds-caller": "key-too-wide",
}
STORED_NAMES: Final = text(
    "SELECT type FROM events UNION ALL SELECT refused_as FROM audit_log"
    " UNION ALL SELECT report FROM recipients"
)


async def test_stored_public_names_are_renamed(database: Database) -> None:
    """Types of events and problems, kinds of reports, and the events that a webhook wants."""
    tenant = await made_tenant(database)
    await queued_message(database, await made_profile(database, tenant))
    webhook = a_webhook(
        tenant.id, event_filter=EventFilter(types=("recipient.bounced_later", "mailbox.*"))
    )
    happened = [
        NewEvent(type=type_, at=NOW, tenant_id=tenant.id, profile_id=None)
        for type_ in (EventType.RECIPIENT_BOUNCED_LATER, EventType.MAILBOX_MAIL_SKIPPED)
    ]
    entry = AuditEntry(
        id=new_id("aud"),
        at=NOW,
        actor=Actor(ActorKind.ADMIN),
        action="key.create",
        refused_as="scope-exceeds-caller",
    )
    async with database.transaction() as connection:
        await webhooks.insert(connection, webhook=webhook, sealed_secret=b"", start=FIRST_POSITION)
        await connection.execute(delete(event_tables.events))
        await events.append(connection, happened)
        await audit.record(connection, entry)
        await connection.execute(update(tables.recipients).values(report="bounced_later"))
        await connection.run_sync(_downgrade_before, "0024")
        old_names = (await connection.execute(STORED_NAMES)).scalars().all()
        assert sorted(old_names) == sorted(OLD_NAMES.values())
        patterns = (await connection.execute(text("SELECT event_types FROM webhooks"))).scalar()
        assert "recipient.returned" in str(patterns)
    await migrating.migrate(database)
    async with database.transaction() as connection:
        assert sorted((await connection.execute(STORED_NAMES)).scalars()) == sorted(OLD_NAMES)
        assert await webhooks.get(connection, tenant_id=tenant.id, webhook_id=webhook.id) == webhook


async def test_a_message_of_before_has_no_origin(database: Database) -> None:
    """Nobody recorded who sent it."""
    message = await queued_message(
        database, await made_profile(database, await made_tenant(database))
    )
    async with database.transaction() as connection:
        await connection.run_sync(_downgrade_before, "0025")
    await migrating.migrate(database)
    async with database.reading() as connection:
        view = await get(connection, tenant_id=message.tenant_id, message_id=message.id)
    assert (view.source, view.key_id) == (None, None)


async def test_a_suppressed_mailbox_does_not_become_a_pattern(database: Database) -> None:
    """The migration quotes its `*`; going back removes patterns and the quotes."""
    tenant = await made_tenant(database)
    row = {"id": "sup_0", "tenant_id": tenant.id, "tag": "", "reason": "manual", "created_at": NOW}

    async def list_addresses() -> list[str]:
        async with database.transaction() as connection:
            query = select(tables.suppressions.c.address)
            return list((await connection.execute(query)).scalars())

    async with database.transaction() as connection:
        await connection.run_sync(_downgrade_before, "0027")
        await connection.execute(insert(tables.suppressions).values(row | {"address": "*@b.test"}))
    await migrating.migrate(database)
    assert await list_addresses() == ['"*"@b.test']
    async with database.transaction() as connection:
        for number, pattern in enumerate(("*@b.test", "*.b.test"), start=1):
            values = row | {"id": f"sup_{number}", "address": pattern}
            await connection.execute(insert(tables.suppressions).values(values))
        await connection.run_sync(_downgrade_before, "0027")
    assert await list_addresses() == ["*@b.test"]
    await migrating.migrate(database)


def test_many_may_migrate_at_once(database_url: str, tmp_path: Path, forking: Forker) -> None:
    """Each in a process of its own: one does it, all succeed."""
    terminal = Terminal(tmp_path, forker=forking)
    started = [terminal.start("migrate", DATABASE_URL=database_url) for _ in range(4)]
    ended = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0] * 4, ended
    assert len({out for out, _ in ended}) == 1


async def test_a_newer_schema_is_left_alone(database: Database) -> None:
    """An old version of Heloise does not know what a newer one made, and says so."""
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert not (await schema.load_state(database)).is_current
    with pytest.raises(SettingsError, match=r"'9999'.*newer version"):
        await migrating.migrate(database)
    async with database.transaction() as connection:
        await connection.execute(
            text("UPDATE alembic_version SET version_num = :head"),
            {"head": (await schema.load_state(database)).head},
        )
