"""How Alembic reaches the database: over a connection that it is given, or a developer's.

`app.store.migrations.schema` gives one.
`alembic revision --autogenerate -m "…"` compares the tables in code with the database that
HELOISE_DATABASE_URL names.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection

from app.settings import load
from app.store.db.engine import Database
from app.store.tables.metadata import metadata


def run(connection: Connection) -> None:
    """Run the wanted migrations in the transaction that the connection is in."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        # SQLite alters a table by making it anew.
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_by_hand() -> None:
    """Run on the database of the settings, for a developer at the command line."""
    database = Database(load().database_url)
    try:
        async with database.transaction() as connection:
            await connection.run_sync(run)
    finally:
        await database.close()


if (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    asyncio.run(run_by_hand())
