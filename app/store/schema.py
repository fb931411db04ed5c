"""The schema of the database: where it is, where it should be, and how it gets there."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

import app
from app.domain.errors import SettingsError
from app.store import events
from app.store.database import Database
from app.store.database_faults import Locked

# Any number that nothing else on the same database locks by.
MIGRATION_LOCK: Final = 0x48454C4F495345
# Each as long as SQLite waits for a lock, which is 5 seconds.
MAX_WAITS: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The revision that a database is at (None: it has no tables yet), and the newest there is."""

    current: str | None
    head: str

    @property
    def is_current(self) -> bool:
        """Whether this version of Heloise can work with it."""
        return self.current == self.head


async def state(database: Database) -> State:
    """Where the schema is; raises Unavailable where the database cannot be reached."""
    async with database.reading() as connection:
        return await connection.run_sync(_state)


def _state(connection: Connection) -> State:
    return State(
        current=MigrationContext.configure(connection).get_current_revision(), head=_head()
    )


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
    return _head()


def _upgrade(connection: Connection) -> None:
    found = _state(connection).current
    config = _config()
    try:
        ScriptDirectory.from_config(config).get_revisions(found or ())
    except CommandError:
        raise SettingsError(
            f"HELOISE_DATABASE_URL names a database whose schema is at {found!r}, which this"
            " version of Heloise does not know; run a newer version"
        ) from None
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _head() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None  # noqa: S101 - migrations are shipped with the code, and one is the last
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    return config


def _migrations() -> Path:
    """Inside the package where it is installed, beside it in a checkout."""
    package = Path(app.__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"
