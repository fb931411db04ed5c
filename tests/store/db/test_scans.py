"""No statement of the queue may scan whole tables while PostgreSQL's statistics are old.

A new database is never analyzed at first, and one that was nearly empty when it was analyzed has
statistics of that. PostgreSQL keeps the plans that it made then until it analyzes again.
"""

from datetime import timedelta

import pytest
from sqlalchemy import text

from app.domain.types import MessageStatus, Profile, RecipientStatus
from app.store.db.database import Database
from app.store.outbox import acceptance as outbox
from app.store.outbox.results import RecipientUpdate, Settlement, settle
from tests.support.rows import (
    NOW,
    a_message,
    an_attempt,
    leased_messages,
    made_profile,
    made_tenant,
)

GROUPS, GROUP_SIZE = 40, 100
# How often a message's rows of a table are read by an index, from acceptance to its end.
MAX_FETCHES = 12
LARGE_TABLES = (
    *("messages", "message_contents", "message_tags", "recipients"),
    *("attempts", "attempt_transcripts", "events"),
)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("analyzed", [None, 0, 1, 50])
@pytest.mark.postgresql
async def test_thousands_of_messages_scan_no_table(
    database: Database, analyzed: int | None
) -> None:
    """Accepted, claimed and settled by groups, with statistics of this many finished messages."""
    await _alter_tables(database, "SET (autovacuum_enabled = false)")
    profile = await made_profile(database, await made_tenant(database))
    if analyzed is not None:
        await _send(database, profile, analyzed)
        async with database.transaction() as connection:
            await connection.execute(text("ANALYZE"))
    await database.close()  # a server process counts its scans at the latest when it ends
    async with database.transaction() as connection:
        # Another test may have used the database before.
        await connection.execute(text("SELECT pg_stat_reset()"))
    for _ in range(GROUPS):
        await _send(database, profile, GROUP_SIZE)
    await database.close()
    query = text("SELECT relname, seq_tup_read, idx_tup_fetch FROM pg_stat_user_tables")
    async with database.reading() as connection:
        rows = (await connection.execute(query)).all()
    read = {row.relname: (row.seq_tup_read, row.idx_tup_fetch or 0) for row in rows}
    for table in LARGE_TABLES:
        scanned, fetched = read[table]
        assert scanned == 0, table
        assert fetched <= MAX_FETCHES * GROUPS * GROUP_SIZE, (table, fetched)
    await _alter_tables(database, "RESET (autovacuum_enabled)")


async def _send(database: Database, profile: Profile, size: int) -> None:
    group = [a_message(profile, "ann@example.org", tags=("a",)) for _ in range(size)]
    async with database.transaction() as connection:
        await outbox.accept(connection, group)
    now = NOW + timedelta(seconds=1)
    claimed = await leased_messages(database, profile, owner="wrk_1", now=now, limit=GROUP_SIZE)
    async with database.transaction() as connection:
        settled = await settle(
            connection,
            owner="wrk_1",
            settlements=[
                Settlement(
                    message_id=message.id,
                    recipients=(
                        RecipientUpdate(
                            position=0,
                            status=RecipientStatus.SENT,
                            attempts=1,
                            next_attempt_at=None,
                            reply=None,
                            classification="delivered",
                        ),
                    ),
                    status=MessageStatus.SENT,
                    due_at=None,
                    attempts=(an_attempt(message, 0),),
                )
                for message in claimed
            ],
            now=now,
        )
    assert len(settled) == size


async def _alter_tables(database: Database, change: str) -> None:
    async with database.transaction() as connection:
        for table in LARGE_TABLES:
            await connection.execute(text(f"ALTER TABLE {table} {change}"))
