"""A commit is on disk when it returns (invariant 1)."""

from sqlalchemy import text

from app.store.db.database import Database


async def test_a_commit_waits_for_the_disk(database: Database) -> None:
    """SQLite's journal is written with fsync; PostgreSQL does not answer before its WAL is."""
    query = "SHOW synchronous_commit" if database.is_postgresql else "PRAGMA synchronous"
    async with database.transaction() as connection:
        answer = (await connection.execute(text(query))).scalar_one()
    full = "on" if database.is_postgresql else 2
    assert answer == full
