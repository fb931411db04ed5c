"""What is erased with the recipients of a message, and what stays."""

from sqlalchemy import select

from app.domain.types import NewMessage
from app.store.db.database import Database
from app.store.outbox import wiping
from app.store.tables.core import message_tags
from tests.support.rows import NOW, made_profile, made_tenant, queued_message


async def tags_of(database: Database, message: NewMessage) -> set[str]:
    """The tags that the message has left."""
    query = select(message_tags.c.tag).where(message_tags.c.message_id == message.id)
    async with database.reading() as connection:
        return set((await connection.execute(query)).scalars())


async def test_tags_that_name_a_recipient_go_from_the_erased_message_alone(
    database: Database,
) -> None:
    """Tags about others stay, and another message keeps a tag of the same name."""
    profile = await made_profile(database, await made_tenant(database))
    tags = ("for:Ann@x.test", "for:eve@x.test", "receipt")
    erased = await queued_message(database, profile, "ann@x.test", "bob@x.test", tags=tags)
    kept = await queued_message(database, profile, "ann@x.test", tags=tags)
    async with database.transaction() as connection:
        await wiping.erase_recipients(connection, message_ids=[erased.id], now=NOW)
    assert await tags_of(database, erased) == {"for:eve@x.test", "receipt"}
    assert await tags_of(database, kept) == set(tags)
