"""Four workers on one PostgreSQL: nothing lost, and nothing twice but where that is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from app.store.database import Database
from tests.e2e.backlog import Backlog
from tests.e2e.conftest import Start
from tests.e2e.harness import Process, Tenant, until
from tests.fixtures.counting_server import CountingServer

pytestmark = [
    pytest.mark.long,
    pytest.mark.postgresql,
    pytest.mark.parametrize("backend", ["postgresql"], indirect=True),
    pytest.mark.timeout(600),
]

MESSAGES: Final = 20_000
WORKERS: Final = 4
KILL_EVERY_SECONDS: Final = 2
FINISHED_SECONDS: Final = 400


@pytest.fixture
async def acme(start: Start) -> Tenant:
    """A tenant of an API that delivers nothing itself."""
    return await (await start(delivery=False)).tenant()


@pytest.fixture
async def backlog(migrated_url: str, acme: Tenant) -> AsyncIterator[Backlog]:
    """An empty queue of that tenant's."""
    database = Database(migrated_url)
    yield Backlog(database, acme.tenant_id)
    await database.close()


async def test_four_workers_lose_nothing_and_send_nothing_twice(
    acme: Tenant, backlog: Backlog, launch: Any
) -> None:
    """Each pair of Message-ID and recipient comes in once (invariant 3)."""
    async with CountingServer() as server:
        for name in ("one", "two"):
            profile = await acme.profile(name, server.port, max_connections=16)
            await backlog.add(profile, MESSAGES // 2)
        for _ in range(WORKERS):
            launch("worker", lease_seconds=60)
        finished = await backlog.wait_finished(seconds=FINISHED_SECONDS)
    assert finished == {"sent": len(backlog.ids)}
    assert server.seen == dict.fromkeys(backlog.pairs(), 1)
    assert await backlog.told() == set()


@asynccontextmanager
async def dying(start: Callable[[], Process]) -> AsyncIterator[None]:
    """Four workers; while the block runs the oldest is killed every two seconds and replaced.

    On a machine so busy that its successor takes longer to start, that one is waited for.
    """
    workers = [start() for _ in range(WORKERS)]

    async def kill_in_turn() -> None:
        while True:
            delivering = (until(each.delivers) for each in workers)
            await asyncio.gather(asyncio.sleep(KILL_EVERY_SECONDS), *delivering)
            workers.pop(0).kill()
            workers.append(start())

    killing = asyncio.create_task(kill_in_turn())
    yield
    killing.cancel()
    # Were it over already, the workers would have lived.
    with pytest.raises(asyncio.CancelledError):
        await killing


async def test_workers_that_are_killed_lose_nothing(
    acme: Tenant, backlog: Backlog, launch: Any
) -> None:
    """One after another dies in the midst of work and another comes in its place.

    What came in twice was in a dead worker's hands, and an attempt says so (invariant 5).
    """
    async with CountingServer() as server:
        profile = await acme.profile("main", server.port, max_connections=16)
        await backlog.add(profile, MESSAGES)
        async with dying(lambda: launch("worker", lease_seconds=3)):
            finished = await backlog.wait_finished(seconds=FINISHED_SECONDS)
    assert finished == {"sent": MESSAGES}
    assert server.seen.keys() == backlog.pairs()
    twice = {message_id for (message_id, _), count in server.seen.items() if count > 1}
    told = await backlog.told()
    assert told, "nobody died in the midst of work"
    assert twice <= told
