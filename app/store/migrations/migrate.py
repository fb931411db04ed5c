"""Migrate the database schema with Alembic, in one transaction."""

from contextlib import suppress
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from app.domain.errors import SettingsError
from app.store import events
from app.store.db.engine import Database
from app.store.db.errors import Locked
from app.store.migrations import schema

# Any number that nothing else on the same database locks by.
MIGRATION_LOCK: Final = 0x48454C4F495345
# Each as long as SQLite waits for a lock, which is 5 seconds.
MAX_WAITS: Final = 120


async def migrate(database: Database) -> str:
    """Bring the schema to the newest revision, and answer which that is.

    It is one transaction: all or nothing. Any number may run at once: SQLite's transaction has
    the write lock from its first moment, PostgreSQL's waits here for a lock of ours. Raises
    SettingsError where the database belongs to a newer version of Heloise.
    """
    for _ in range(MAX_WAITS):
        with suppress(Locked):  # whoever has it may be at a large table
            return await _migrate(database)
    return await _migrate(database)


async def _migrate(database: Database) -> str:
    async with database.transaction() as connection:
        if database.is_postgresql:
            await connection.execute(
                text("SELECT pg_advisory_xact_lock(:number)"), {"number": MIGRATION_LOCK}
            )
        await connection.run_sync(_upgrade)
        await events.renumber(connection)
    return schema.head_revision()


def _upgrade(connection: Connection) -> None:
    revision = schema.load_revision(connection)
    config = Config()
    config.set_main_option("script_location", str(schema.find_migrations()).replace("%", "%%"))
    try:
        ScriptDirectory.from_config(config).get_revisions(revision or ())
    except CommandError:
        state = schema.SchemaState(current=revision, head=schema.head_revision())
        raise SettingsError(f"HELOISE_DATABASE_URL: {state.fault}") from None
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
