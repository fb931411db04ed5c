"""Turn unique-constraint violations into Conflict, as checking first would race."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import Conflict

UNIQUE_VIOLATIONS = frozenset({"23505", "SQLITE_CONSTRAINT_UNIQUE"})


@asynccontextmanager
async def conflict_on_duplicate(
    connection: AsyncConnection, conflict: Conflict
) -> AsyncIterator[None]:
    """Raise `conflict` where the block writes a value that is unique and taken.

    What the block did is undone then, the transaction around it lives on.
    """
    try:
        async with connection.begin_nested():
            yield
    except IntegrityError as error:
        if _code(error) in UNIQUE_VIOLATIONS:
            raise conflict from None
        raise


def _code(error: IntegrityError) -> str:
    """PostgreSQL's SQLSTATE, or SQLite's name of its extended result code."""
    code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)
    return str(code)
