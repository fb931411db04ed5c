"""Migrate the database schema with Alembic."""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import SettingsError
from app.store.db.database import Database
from app.store.db.errors import Locked
from app.store.migrations import schema
from app.store.tables.events import events, webhooks
from app.store.tables.metadata import metadata

# Shows how many steps are done, and of how many.
ShowProgress = Callable[[int, int | None], None]
# Any number that no other application locks on the same database.
MIGRATION_LOCK: Final = 0x48454C4F495345
_NOT_VALID: Final = text(
    "SELECT conrelid::regclass::text, quote_ident(conname) FROM pg_constraint"
    " WHERE NOT convalidated AND contype = 'c' AND connamespace = current_schema()::regnamespace"
    " AND (SELECT relname FROM pg_class WHERE oid = conrelid) = ANY(:tables)"
)
# Each wait lasts as long as SQLite waits for a lock: 5 seconds.
MAX_WAITS: Final = 120


def _ignore_progress(_done: int, _total: int | None) -> None:
    pass


async def migrate(database: Database, show: ShowProgress = _ignore_progress) -> str:
    """Migrate to the newest revision, and return it; `show` gets the number of steps done.

    Changes the schema in one transaction, and validates new constraints after it: if that fails,
    the schema is the new one, and the next call validates again. Several processes may call this at
    once: SQLite locks the file from the beginning, PostgreSQL takes an advisory lock. Raises
    SettingsError if the database belongs to a newer version of Heloise.
    """
    for _ in range(MAX_WAITS):
        with suppress(Locked):  # another process may be migrating a large table
            return await _migrate(database, show)
    return await _migrate(database, show)


async def _migrate(database: Database, show: ShowProgress) -> str:
    async with database.transaction() as connection:
        if database.is_postgresql:
            await connection.execute(
                text("SELECT pg_advisory_xact_lock(:number)"), {"number": MIGRATION_LOCK}
            )
        await connection.run_sync(_upgrade, show)
        if database.is_postgresql:
            await _renumber_events(connection)
    if database.is_postgresql:
        await _validate_constraints(database)
    return schema.head_revision()


async def _renumber_events(connection: AsyncConnection) -> None:
    """Make events from a restored dump of another PostgreSQL cluster the earliest.

    A new cluster starts to count its transactions again. Without this, the restored events belong
    to future transactions, which no reader may see.
    """
    query = select(func.pg_snapshot_xmax(func.pg_current_snapshot()))
    next_transaction_id = int((await connection.execute(query)).scalar_one())
    await connection.execute(
        update(events)
        .where(events.c.transaction_id >= next_transaction_id)
        .values(transaction_id=0)
    )
    await connection.execute(
        update(webhooks)
        .where(webhooks.c.read_transaction_id >= next_transaction_id)
        .values(read_transaction_id=0)
    )


async def _validate_constraints(database: Database) -> None:
    """Validate the constraints that migrations added as NOT VALID.

    Reads whole tables, but blocks no writer, unlike the same within the migration's transaction.
    """
    async with database.reading() as connection:
        rows = await connection.execute(_NOT_VALID, {"tables": list(metadata.tables)})
        constraints = rows.all()
    for table, name in constraints:
        async with database.transaction() as connection:
            await connection.execute(text(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"))


def _upgrade(connection: Connection, show: ShowProgress) -> None:
    revision = schema.load_revision(connection)
    config = Config()
    config.set_main_option("script_location", str(schema.find_migrations()).replace("%", "%%"))
    try:
        ScriptDirectory.from_config(config).get_revisions(revision or ())
    except CommandError:
        state = schema.SchemaState(current=revision, head=schema.head_revision())
        raise SettingsError(f"HELOISE_DATABASE_URL: {state.fault}") from None
    config.attributes["connection"] = connection
    pending = [name for name in schema.list_revisions() if revision is None or name > revision]
    config.attributes["show"] = lambda name: show(pending.index(name) + 1, len(pending))
    command.upgrade(config, "head")
