"""Run Alembic on a connection of the service, or of a developer.

`app.store.migrations.migrate` passes its connection. `alembic revision --autogenerate -m "…"`
compares the tables in code with the database of HELOISE_DATABASE_URL.
"""

import asyncio
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationInfo
from sqlalchemy import Connection

from app.settings.reading import read_settings
from app.store.db.database import Database
from app.store.tables.metadata import metadata


def run(connection: Connection) -> None:
    """Run the migrations in the connection's transaction."""
    show = context.config.attributes.get("show")

    def on_version_apply(*, step: MigrationInfo, **_: Any) -> None:  # noqa: ANN401 - Alembic's own
        if show is not None and step.up_revision_id is not None:
            show(step.up_revision_id)

    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        # SQLite alters a table by copying it.
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
        on_version_apply=on_version_apply,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_by_hand() -> None:
    """Run on the database of the settings, for a developer."""
    database = Database(read_settings().database_url)
    try:
        async with database.transaction() as connection:
            await connection.run_sync(run)
    finally:
        await database.close()


if (connection := context.config.attributes.get("connection")) is not None:
    run(connection)
else:
    asyncio.run(run_by_hand())
