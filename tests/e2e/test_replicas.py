"""Four workers on one PostgreSQL: nothing lost, and nothing twice but where that is told."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from app.store.db.database import Database
from tests.e2e.backlog import Backlog
from tests.e2e.conftest import Start
from tests.support.harness import Process, Tenant, until
from tests.support.servers.counting_server import CountingServer

pytestmark = [
    pytest.mark.long,
    pytest.mark.postgresql,
    pytest.mark.parametrize("backend", ["postgresql"], indirect=True),
    pytest.mark.timeout(600),
]

WORKERS: Final = 4
MESSAGES: Final = 1_200
KILLS: Final = WORKERS
# More than the workers have in hand together, so that the one that is killed has some of it.
BEFORE_EACH_KILL: Final = 400


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
        profiles = [
            await acme.profile(name, server.port, max_connections=16) for name in ("one", "two")
        ]
        for worker in [launch("worker", lease_seconds=60) for _ in range(WORKERS)]:
            await until(worker.delivers)
        for profile in profiles:
            await backlog.add(profile, MESSAGES // 2)
        finished = await backlog.wait_finished(server)
    assert finished == {"sent": len(backlog.ids)}
    assert server.seen == dict.fromkeys(backlog.pairs(), 1)
    assert await backlog.load_sent_headers() == set()


async def test_workers_that_are_killed_lose_nothing(
    acme: Tenant, backlog: Backlog, launch: Any
) -> None:
    """One after another dies in the midst of work and another comes in its place.

    What came in twice was in a dead worker's hands, and an attempt says so (invariant 5).
    """
    workers: list[Process] = [launch("worker", lease_seconds=600) for _ in range(WORKERS)]
    async with CountingServer() as server:
        profile = await acme.profile("main", server.port, max_connections=16)
        for _ in range(KILLS):
            for worker in workers:
                await until(worker.delivers)
            await backlog.add(profile, BEFORE_EACH_KILL)
            await server.wait_for_count(server.message_count + BEFORE_EACH_KILL // 10)
            workers.pop(0).kill()
            workers.append(launch("worker", lease_seconds=600))
        finished = await backlog.wait_finished(server)
    assert finished == {"sent": len(backlog.ids)}
    assert server.seen.keys() == backlog.pairs()
    twice = {message_id for (message_id, _), count in server.seen.items() if count > 1}
    sent_headers = await backlog.load_sent_headers()
    assert sent_headers, "nobody died in the midst of work"
    assert twice <= sent_headers
