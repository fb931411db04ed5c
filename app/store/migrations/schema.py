"""Compare the database's schema revision with the code's.

What brings it there is `migrate`, which a service that is up to date has no need of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select

import app
from app.store.db.engine import Database

# Alembic's own table: one row with the revision, or none.
_VERSION: Final = Table("alembic_version", MetaData(), Column("version_num", String))


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaState:
    """The revision that a database is at (None: it has no tables yet), and the newest there is."""

    current: str | None
    head: str

    @property
    def is_current(self) -> bool:
        """Whether this version of Heloise can work with it."""
        return self.current == self.head

    @property
    def fault(self) -> str | None:
        """What is wrong with it and what to do; None where it is current."""
        if self.is_current:
            return None
        if self.current is not None and self.current not in list_revisions():
            return (
                f"The database schema is at {self.current!r}, which a newer version of Heloise"
                f" created. This version ({app.__version__}) knows none after {self.head!r}: run"
                " the newer version."
            )
        description = f"at {self.current}" if self.current else "empty"
        return f"The database schema is {description}, not at {self.head}: run `heloise migrate`."


async def load_state(database: Database) -> SchemaState:
    """Where the schema is; raises Unavailable where the database cannot be reached."""
    async with database.reading() as connection:
        return SchemaState(current=await connection.run_sync(load_revision), head=head_revision())


def load_revision(connection: Connection) -> str | None:
    """The revision that the database is at, None where it has no tables yet."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(select(_VERSION.c.version_num)).scalar_one_or_none()


def head_revision() -> str:
    """The newest revision."""
    return list_revisions()[-1]


def list_revisions() -> Sequence[str]:
    """All that this version has, oldest first: files are named by them, and the names sort."""
    return sorted(
        path.stem.partition("_")[0] for path in find_migrations().glob("versions/[0-9]*.py")
    )


def find_migrations() -> Path:
    """Inside the package where it is installed, beside it in a checkout."""
    package = Path(app.__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"
