"""When a lane is due."""

from datetime import timedelta

from app.store.db.database import Database
from app.store.delivery import lanes
from tests.support.rows import NOW, made_profile, made_tenant, queued_message


async def test_a_fallback_is_due_whatever_its_own_messages_are(database: Database) -> None:
    """It sends those of another profile while its own wait for tomorrow."""
    profile = await made_profile(database, await made_tenant(database))
    await queued_message(database, profile, send_at=NOW + timedelta(days=1))
    async with database.reading() as connection:
        fallback = await lanes.find(connection, profile_id=profile.id, now=NOW)
        [waiting] = await lanes.load_waiting(connection, now=NOW)
    assert fallback.due_at == NOW
    assert waiting.due_at == NOW + timedelta(days=1)
