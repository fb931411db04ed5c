"""Events have an order in which nothing appears before what was read already."""

from typing import Final

from sqlalchemy import text, update

from app.domain.events import FIRST_POSITION, EventType, NewEvent, Position
from app.domain.ids import first_id
from app.store import events
from app.store.db.database import Database
from app.store.db.keyset import CLOCK_SLACK, EARLIEST
from app.store.migrations import migrate as migrating
from app.store.outbox import acceptance
from app.store.tables.events import events as table
from tests.support.rows import MINUTE, NOW, a_message, made_profile, made_tenant

TENANT: Final = "ten_0198c5a2d3f07b6e8a4c1d2e3f405162"


def an_event(profile: str, tenant: str = TENANT) -> NewEvent:
    """Something that happened to a profile."""
    return NewEvent(EventType.PROFILE_PAUSED, NOW, tenant, profile)


async def read(
    database: Database, start: Position = FIRST_POSITION
) -> tuple[list[str | None], Position]:
    """To which profiles something happened after a place, and the place after that."""
    async with database.reading() as connection:
        page = await events.page(connection, tenant_id=TENANT, limit=100, start=start)
    return [item.profile_id for item in page.items], page.end


async def test_nothing_is_passed_that_is_not_committed(database: Database) -> None:
    """One that was written first and is committed last comes after what was read meanwhile."""
    if not database.is_postgresql:  # SQLite has one that writes at a time
        return
    async with database.transaction() as slow:
        await events.append(slow, [an_event("slow")])
        async with database.transaction() as quick:
            await events.append(quick, [an_event("quick")])
        first, place = await read(database)
        assert first == []
    then, place = await read(database, place)
    assert then == ["slow", "quick"]
    assert (await read(database, place))[0] == []


async def test_they_are_in_the_order_of_writing(database: Database) -> None:
    """Within a transaction and over several; and each is its tenant's alone."""
    for n in range(3):
        async with database.transaction() as connection:
            await events.append(connection, [an_event(f"{n}a"), an_event("x", "ten_other")])
            await events.append(connection, [an_event(f"{n}b")])
    profile_ids, place = await read(database)
    assert profile_ids == ["0a", "0b", "1a", "1b", "2a", "2b"]
    async with database.transaction() as connection:
        await events.append(connection, [an_event("last")])
    assert (await read(database, place))[0] == ["last"]


async def test_the_newest_come_first(database: Database) -> None:
    """Page by page, without those that are not committed, and without older ones than a time."""
    for n in range(5):
        async with database.transaction() as connection:
            await events.append(connection, [an_event(str(n)), an_event("x", "ten_other")])
    profile_ids, before = list[str | None](), None
    async with database.reading() as connection:
        while rows := await events.page_newest_first(
            connection, tenant_id=TENANT, limit=2, before=before, created_after=NOW - MINUTE
        ):
            profile_ids += [row.profile_id for row in rows]
            before = rows[-1].position
        for moment in (NOW, NOW + 2 * CLOCK_SLACK, EARLIEST):
            is_later = moment > EARLIEST
            [*rows] = await events.page_newest_first(
                connection, tenant_id=TENANT, limit=9, before=None, created_after=moment
            )
            assert len(rows) == (0 if is_later else 5)
    assert profile_ids == ["4", "3", "2", "1", "0"]


async def test_the_tags_of_a_message_are_in_one_order(database: Database) -> None:
    """By their characters' numbers, as in the message itself, whatever the database's collation."""
    profile = await made_profile(database, await made_tenant(database))
    message = a_message(profile, "ann@example.org", tags=("b", "A", "a", "B"))
    async with database.transaction() as connection:
        await acceptance.accept(connection, [message])
    async with database.reading() as connection:
        page = await events.page(
            connection, tenant_id=profile.tenant_id, limit=9, start=FIRST_POSITION
        )
    [event_message] = [event.message for event in page.items if event.message is not None]
    assert event_message.tags == ("A", "B", "a", "b")


async def test_a_time_hides_no_event_of_an_earlier_transaction(database: Database) -> None:
    """Ids are made before their transactions end, so they may be in another order."""
    for name in ("first", "second"):
        async with database.transaction() as connection:
            await events.append(connection, [an_event(name)])
    moments = {"first": NOW + MINUTE, "second": NOW}
    async with database.transaction() as connection:
        for name, moment in moments.items():
            of_name = update(table).where(table.c.profile_id == name)
            await connection.execute(of_name.values(id=first_id("evt", moment)))
    async with database.reading() as connection:
        page = await events.page(
            connection, tenant_id=TENANT, limit=9, start=FIRST_POSITION, created_after=NOW - MINUTE
        )
        newest = await events.page_newest_first(
            connection, tenant_id=TENANT, limit=9, before=None, created_after=NOW - MINUTE
        )
    assert [event.profile_id for event in page.items] == ["first", "second"]
    assert [event.profile_id for event in newest] == ["second", "first"]


async def test_a_dump_restored_in_another_cluster_is_read_on(database: Database) -> None:
    """Its transactions are counted from the beginning there: what is old stays before what is new.

    A place that was read in the former one still tells what was read.
    """
    if not database.is_postgresql:
        return
    async with database.transaction() as connection:
        await events.append(connection, [an_event("old")])
        await events.append(connection, [an_event("older than new")])
        ahead = text("pg_current_xact_id()::text::bigint + 1000000")
        await connection.execute(update(table).values(transaction_id=ahead))
    assert (await read(database))[0] == []
    await migrating.migrate(database)
    profile_ids, _ = await read(database)
    assert profile_ids == ["old", "older than new"]
    async with database.transaction() as connection:
        await events.append(connection, [an_event("new")])
    assert (await read(database))[0] == ["old", "older than new", "new"]
    former = Position(10**12, 2**63 - 1)
    assert (await read(database, former))[0] == ["new"]
