"""Suggest similar names for an unknown one."""

from difflib import get_close_matches
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

# The worst names take 20 ms to compare.
MAX_COMPARED: Final = 100
MAX_CHARACTERS: Final = 32
# Similar names have a similar length.
MAX_DIFFERENCE: Final = 3


async def suggest_name(
    connection: AsyncConnection, column: Column[Any], name: str, *conditions: ColumnElement[bool]
) -> str:
    """Return "; did you mean …?" with the most similar value, or nothing."""
    length = func.length(column)
    query = (
        select(column)
        .where(*conditions, length.between(len(name) - MAX_DIFFERENCE, len(name) + MAX_DIFFERENCE))
        .limit(MAX_COMPARED)
    )
    values_by_prefix = {
        value[:MAX_CHARACTERS]: value for value in (await connection.execute(query)).scalars()
    }
    matches = get_close_matches(name[:MAX_CHARACTERS], values_by_prefix, n=1)
    return f"; did you mean {values_by_prefix[matches[0]]!r}?" if matches else ""
