"""Handle violations of unique constraints, which checking first could not prevent."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from sqlalchemy import Insert, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import Conflict

UNIQUE_VIOLATIONS = frozenset({"23505", "SQLITE_CONSTRAINT_UNIQUE"})


def build_inserts(
    table: Table, add_conflict: Callable[[postgresql.Insert | sqlite.Insert], Insert]
) -> Mapping[str, Insert]:
    """Build an INSERT with ON CONFLICT for each database, by the name of its dialect."""
    return {
        "postgresql": add_conflict(postgresql.insert(table)),
        "sqlite": add_conflict(sqlite.insert(table)),
    }


@asynccontextmanager
async def conflict_on_duplicate(
    connection: AsyncConnection, conflict: Conflict
) -> AsyncIterator[None]:
    """Raise `conflict` if the block violates a unique constraint.

    Undoes the block; the transaction around it continues.
    """
    try:
        async with connection.begin_nested():
            yield
    except IntegrityError as error:
        if _code(error) in UNIQUE_VIOLATIONS:
            raise conflict from None
        raise


def unique_name(
    connection: AsyncConnection, noun: str, name: object
) -> AbstractAsyncContextManager[None]:
    """Raise Conflict if the block gives a second row of a tenant this name."""
    conflict = Conflict(
        f"{noun.replace(' ', '-')}-exists",
        f"A {noun} {name!r} exists already; choose another name.",
    )
    return conflict_on_duplicate(connection, conflict)


def _code(error: IntegrityError) -> str:
    """Return PostgreSQL's SQLSTATE, or the name of SQLite's extended result code."""
    code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)
    return str(code)
