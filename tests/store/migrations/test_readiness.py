"""What stands in the way of using the database is told."""

import pytest
from sqlalchemy import make_url, text

from app.store.db.database import Database
from app.store.migrations.readiness import READ_ONLY, Readiness


async def test_a_database_that_takes_writes_is_ready(database: Database) -> None:
    """Its schema is at head."""
    assert await Readiness(database).check() == []


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_a_database_that_can_only_be_read_is_not_ready(
    database: Database, migrated_url: str
) -> None:
    """Alive is not writable, however well it answers."""
    name = migrated_url.rpartition("/")[2]
    async with database.transaction() as connection:
        await connection.execute(
            text(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        )
    other = Database(migrated_url)
    try:
        assert await Readiness(other).check() == [READ_ONLY]
    finally:
        await other.close()
        async with database.transaction() as connection:
            await connection.execute(
                text(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            )
    assert await Readiness(database).check() == []


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_a_server_that_refuses_connections_is_not_ready(migrated_url: str) -> None:
    """As after a change of a password or of pg_hba.conf."""
    stranger = make_url(migrated_url).set(username="nobody_at_all")
    other = Database(stranger.render_as_string(hide_password=False))
    try:
        [reason] = await Readiness(other).check()
    finally:
        await other.close()
    assert reason == "The database cannot be reached."
