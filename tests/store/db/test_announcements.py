"""New work is announced after its commit, and not at each commit."""

import asyncio

import pytest
from sqlalchemy import text

from app.domain.errors import Unavailable
from app.store.db.announcer import Announcer
from app.store.db.database import Database
from tests.support.waiting import until

COMMITS = 50


class Server:
    """Takes announcements, one at a time, once the gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun_count = self.taken_count = 0
        self.is_away = False

    async def notify(self) -> None:
        self.begun_count += 1
        await self.gate.wait()
        if self.is_away:
            raise Unavailable("database-unavailable", "away")
        self.taken_count += 1

    async def has_begun(self, count: int) -> None:
        async def fact() -> bool | None:
            return self.begun_count == count or None

        await until(fact)


async def test_commits_during_an_announcement_share_the_next() -> None:
    """However many they are; and nobody waits for it."""
    server = Server()
    announcer = Announcer(server.notify)
    announcer.announce()
    await server.has_begun(1)
    for _ in range(COMMITS):
        announcer.announce()
    server.gate.set()
    await server.has_begun(2)
    await announcer.close()
    assert server.taken_count == 2


async def test_a_failed_announcement_ends_nothing() -> None:
    """Others poll; the next announcement is tried again."""
    server = Server()
    server.gate.set()
    announcer = Announcer(server.notify)
    server.is_away = True
    announcer.announce()
    await server.has_begun(1)
    server.is_away = False
    announcer.announce()
    await server.has_begun(2)
    assert server.taken_count == 1
    await announcer.close()


async def test_an_announcement_that_is_cut_off_is_made_at_the_close() -> None:
    """A process that ends waits for it."""
    server = Server()
    announcer = Announcer(server.notify)
    announcer.announce()
    await server.has_begun(1)
    server.gate.set()
    await announcer.close()
    assert server.taken_count == 1


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.postgresql
async def test_a_command_announces_its_commits_before_it_ends(
    database: Database, migrated_url: str
) -> None:
    """The second too, which comes within the pause after the first."""
    heard = asyncio.Event()
    command = Database(migrated_url)
    async with database.listening(heard.set):
        await heard.wait()
        heard.clear()
        for _ in range(2):
            async with command.transaction(announce=True) as connection:
                await connection.execute(text("SELECT 1"))
        await command.close()
        await heard.wait()
