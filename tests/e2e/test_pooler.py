"""Heloise works behind pgbouncer in transaction mode, as behind any pooler of that kind."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from app.domain.mime.byte_blocks import LARGE_BYTES
from app.store.db.database import Database
from app.store.migrations import migrate as migrating
from tests.e2e.conftest import Start
from tests.support.database.pgbouncer import pgbouncer_before
from tests.support.harness import until
from tests.support.servers.smtp_server import SmtpServer

pytestmark = [
    pytest.mark.pgbouncer,
    pytest.mark.parametrize(
        "backend", [pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
    ),
]


@pytest.fixture
def pooled_url(migrated_url: str) -> Iterator[str]:
    """The migrated database's URL through a pgbouncer of its own."""
    with pgbouncer_before(migrated_url) as url:
        yield url


async def test_a_pooler_is_noticed(migrated_url: str, pooled_url: str) -> None:
    """By itself; without one nothing is given up for it."""
    for url, is_pooled in ((migrated_url, False), (pooled_url, True)):
        database = Database(url)
        assert await database.is_pooled() is is_pooled
        await database.close()


async def test_statements_survive_that_the_server_changes(pooled_url: str) -> None:
    """Twenty connections share three of the server's, within transactions and without."""
    database = Database(pooled_url, pool_size=20)

    async def work(number: int) -> None:
        async with database.reading() as connection:
            for _ in range(5):
                result = await connection.execute(text("SELECT :n + 1"), {"n": number})
                assert result.scalar_one() == number + 1
        async with database.transaction() as connection:
            for _ in range(5):
                result = await connection.execute(text("SELECT :n * 2"), {"n": number})
                assert result.scalar_one() == number * 2

    await migrating.migrate(database)
    await asyncio.gather(*(work(number) for number in range(20)))
    await database.close()


async def test_messages_are_accepted_and_delivered(
    start: Start, server: SmtpServer, pooled_url: str
) -> None:
    """By one process, and by another that looks for what nobody can announce to it."""
    await start(database_url=pooled_url)
    api = await start(database_url=pooled_url, delivery=False)
    acme = await api.tenant()
    await acme.profile("main", server.port, max_connections=4)
    small = await asyncio.gather(*(acme.send() for _ in range(20)))
    large = await acme.send(text="x" * (2 * LARGE_BYTES))
    await acme.all_sent([*small, large])
    assert len(server.messages) == len(small) + 1

    async def is_ready() -> bool | None:
        return (await api.http.get("/readyz")).status_code == 200 or None

    await until(is_ready)
