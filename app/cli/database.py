"""Open the configured database for a command, and name its user for the audit log."""

import asyncio
import getpass
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.audit_context import AuditContext
from app.auth.caller import Caller
from app.domain.audit import Actor, ActorKind
from app.domain.clock import SystemClock
from app.domain.errors import SettingsError, Unavailable
from app.domain.types import MessageSource
from app.settings.model import Settings
from app.store.db.database import Database
from app.store.db.errors import CommitUnknown
from app.store.db.keyset import Row, read_pages
from app.store.db.url import sqlite_path
from app.store.migrations import schema
from app.store.tenants import queries as tenants

T = TypeVar("T")
PAGE_ROWS: Final = 200


def make_audit_context() -> AuditContext:
    """Return the command line's user for the audit log."""
    actor = Actor(ActorKind.COMMAND_LINE, name=_user(), source=socket.gethostname())
    return AuditContext(actor=actor, now=SystemClock().now())


async def load_caller(connection: AsyncConnection, tenant: str) -> Caller:
    """Return the command line's user as a caller of a tenant; raises NotFound."""
    owner = await tenants.get(connection, tenant=tenant)
    return Caller(owner, make_audit_context().actor, message_source=MessageSource.CLI)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return str(os.getuid())


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the database of the settings; its errors omit the SQL."""
    path = sqlite_path(settings.database_url)
    if path is not None and not path.parent.is_dir():
        raise SettingsError(
            f"HELOISE_DATABASE_URL: the folder {path.parent} does not exist; create it"
        )
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    try:
        yield database
    except CommitUnknown:
        raise
    except Unavailable as error:
        reason = getattr(error.__cause__, "orig", None) or error.__cause__
        raise Unavailable(
            error.slug, f"The database is not available: {reason}. Run the command again."
        ) from error
    except (asyncpg.PostgresError, DBAPIError) as error:
        reason = getattr(error, "orig", error)
        raise Unavailable(
            "database-unavailable", f"The database refuses the operation: {reason}"
        ) from None
    finally:
        await database.close()


@asynccontextmanager
async def open_current_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the database; raises SettingsError unless it has the tables of this version."""
    require_file(settings)
    async with open_database(settings) as database:
        state = await schema.load_state(database)
        if state.fault is not None:
            raise SettingsError(state.fault.replace("`", ""))
        yield database


def require_file(settings: Settings) -> Path | None:
    """Return the path of the SQLite database, if it is one; raises SettingsError without it."""
    path = sqlite_path(settings.database_url)
    if path is not None and not path.exists():  # opening it would create it
        raise SettingsError(f"the database {path} does not exist; run heloise migrate")
    return path


def transact(
    settings: Settings, work: Callable[[AsyncConnection], Awaitable[T]], *, announce: bool = False
) -> T:
    """Run `work` in one transaction on a database whose schema is current.

    With `announce`, delivering processes on PostgreSQL see the changes at once. On SQLite, the
    delivering process polls every `HELOISE_POLL_INTERVAL_SECONDS`.
    """

    async def run() -> T:
        async with (
            open_current_database(settings) as database,
            database.transaction(announce=announce) as connection,
        ):
            return await work(connection)

    return asyncio.run(run())


async def read_all(load: Callable[..., Awaitable[Sequence[Row]]]) -> list[Row]:
    """Read all rows of a list; `load` reads a page from `limit` and `after`."""
    return [row async for rows in read_pages(load, limit=PAGE_ROWS) for row in rows]
