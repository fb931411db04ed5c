"""Delete rows older than their retention."""

from datetime import datetime

from sqlalchemy import Table, delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection


async def delete_oldest(
    connection: AsyncConnection, table: Table, *, before: datetime, limit: int
) -> int:
    """Delete up to `limit` rows created before a moment, oldest first; return how many."""
    key_columns = list(table.primary_key.columns)
    query = (
        select(*key_columns)
        .where(table.c.created_at < before)
        .order_by(table.c.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    keys = [tuple(row) for row in await connection.execute(query)]
    if keys:
        await connection.execute(delete(table).where(tuple_(*key_columns).in_(keys)))
    return len(keys)
