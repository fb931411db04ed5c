"""Delete rows older than their retention."""

from typing import Any

from sqlalchemy import Column, ColumnElement, Table, delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection


async def delete_oldest(
    connection: AsyncConnection,
    table: Table,
    *conditions: ColumnElement[bool],
    order: Column[Any],
    limit: int,
) -> int:
    """Delete up to `limit` rows that meet the conditions, in this order; return how many.

    Skips rows that another process deletes.
    """
    key = tuple_(*table.primary_key.columns)
    oldest = (
        select(*table.primary_key.columns)
        .where(*conditions)
        .order_by(order)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return (await connection.execute(delete(table).where(key.in_(oldest)))).rowcount
