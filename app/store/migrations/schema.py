"""Compare the database's schema revision with the code's.

`migrate` is separate, since an up-to-date service does not need it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select

import app
from app.store.db.database import Database

# Alembic's own table: one row with the revision, or none.
_VERSION: Final = Table("alembic_version", MetaData(), Column("version_num", String))


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaState:
    """The database's revision (None: no tables yet) and the newest."""

    current: str | None
    head: str

    @property
    def is_current(self) -> bool:
        """Whether this version of Heloise works with the database."""
        return self.current == self.head

    @property
    def fault(self) -> str | None:
        """Describe the mismatch and its fix; None if there is none."""
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
    """Load the schema's state; raise Unavailable if the database is away."""
    async with database.reading() as connection:
        return SchemaState(current=await connection.run_sync(load_revision), head=head_revision())


def load_revision(connection: Connection) -> str | None:
    """Return the database's revision, or None without tables."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(select(_VERSION.c.version_num)).scalar_one_or_none()


def head_revision() -> str:
    """Return the newest revision."""
    return list_revisions()[-1]


def list_revisions() -> Sequence[str]:
    """Return all revisions, oldest first: file names begin with them, and sort."""
    return sorted(
        path.stem.partition("_")[0] for path in find_migrations().glob("versions/[0-9]*.py")
    )


def find_migrations() -> Path:
    """Return the directory: in the installed package, or beside it in a checkout."""
    package = Path(app.__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"
