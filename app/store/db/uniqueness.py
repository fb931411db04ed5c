"""Turn unique-constraint violations into Conflict; checking first would race."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import Conflict

UNIQUE_VIOLATIONS = frozenset({"23505", "SQLITE_CONSTRAINT_UNIQUE"})


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
