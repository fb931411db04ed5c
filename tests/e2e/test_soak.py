"""Faults of every kind, one round after another: nothing lost, and nothing left behind.

A round's fault comes while a part of its messages is on the way. `SOAK_SECONDS` says for how long
each database is tried: 20 s in `make test`, ten minutes in `make soak`.
"""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from app.domain.types import Guarantee
from app.store.database import Database
from tests.conftest import Backend
from tests.e2e.backlog import Backlog
from tests.e2e.conftest import Start
from tests.e2e.harness import Tenant, until
from tests.fixtures.counting_server import CountingServer

pytestmark = pytest.mark.long

SECONDS: Final = float(os.environ.get("SOAK_SECONDS", "20"))
EACH: Final = 60
ROUND_SECONDS: Final = 60.0
WARM_ROUNDS: Final = 7
MAX_CONNECTIONS: Final = 6
# What caches, pools and the allocator may still take after the first rounds, and what the test
# itself keeps: every answer and log line, to search them for secrets.
GROWTH_BYTES: Final = 96 * 1024 * 1024

Fault = Callable[["Soak"], Awaitable[None]]


class Soak:
    """The service, its server and its queue, for one round after another."""

    def __init__(self, acme: Tenant, server: CountingServer, backlog: Backlog, url: str) -> None:
        self.acme, self.server, self.backlog, self.url = acme, server, backlog, url
        self.profile: dict[str, Any] = {}

    async def begin(self) -> None:
        """Make the profile: impatient, for nobody is to wait for its second tries."""
        retry = {"first_seconds": 1, "cap_seconds": 1}
        given = {"max_connections": MAX_CONNECTIONS, "retry": retry}
        self.profile = await self.acme.profile("main", self.server.port, **given)

    async def round(self, fault: Fault) -> None:
        """Queue messages under both guarantees, do something to them, and see what became of it."""
        before = self.server.taken
        for guarantee in Guarantee:
            await self.backlog.add(self.profile, EACH, guarantee=guarantee)
        await self.server.wait_taken(before + EACH // 3, seconds=ROUND_SECONDS)
        await fault(self)
        self.server.fault = None
        finished = await self.backlog.wait_finished(seconds=ROUND_SECONDS)
        await self._judge(finished)
        assert await self.backlog.leases() == 0
        await self.backlog.forget()
        self.server.seen.clear()

    async def _judge(self, finished: dict[str, int]) -> None:
        """All were sent but those that are uncertain; only what is told came in twice."""
        assert finished.keys() <= {"sent", "held"}
        missing = {message for message, _ in self.backlog.pairs() - self.server.seen.keys()}
        assert len(missing) <= finished.get("held", 0)
        twice = {message for (message, _), count in self.server.seen.items() if count > 1}
        assert twice | missing <= await self.backlog.told()
        assert not twice & self.backlog.once


async def nothing(soak: Soak) -> None:
    """A round without a fault."""


async def connections_lost(soak: Soak) -> None:
    """The server drops every connection, several times."""
    for _ in range(5):
        soak.server.hang_up()
        await asyncio.sleep(0.02)


async def refused_for_now(soak: Soak) -> None:
    """The server takes no message for a while."""
    soak.server.fault = b"451 4.3.0 Later\r\n"
    await asyncio.sleep(0.3)


async def profile_changed(soak: Soak) -> None:
    """Under another name from now on; connections of the old one are retired."""
    name = f"n{soak.server.taken}.example.com"
    answer = await soak.acme("PATCH", "/profiles/main", {"ehlo_name": name})
    assert answer.status_code == 200


async def paused(soak: Soak) -> None:
    """Stopped by hand, and resumed."""
    await soak.acme("POST", "/profiles/main/pause")
    await soak.acme("POST", "/profiles/main/resume")


async def database_connections_killed(soak: Soak) -> None:
    """Every connection to PostgreSQL is cut; SQLite has none."""
    if soak.url.startswith("sqlite"):
        return
    connection = await asyncpg.connect(soak.url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()


FAULTS: Final[tuple[Fault, ...]] = (
    nothing,
    connections_lost,
    refused_for_now,
    profile_changed,
    paused,
    database_connections_killed,
)


@pytest.fixture
async def soak(migrated_url: str, start: Start) -> AsyncIterator[Soak]:
    """The service, delivering in this process, where its tasks can be counted."""
    acme = await (await start(lease_seconds=3)).tenant()
    database = Database(migrated_url)
    async with CountingServer() as server:
        soak = Soak(acme, server, Backlog(database, acme.tenant_id), migrated_url)
        await soak.begin()
        yield soak
        await database.close()


def resident_bytes() -> int:
    """How much memory this process has."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    """How many files and sockets this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.timeout(SECONDS + 120)
async def test_faults_leave_nothing_lost_and_nothing_behind(soak: Soak, backend: Backend) -> None:
    """Memory, tasks, files, connections and leases are as many after hours as after minutes."""
    for fault in islice(cycle(FAULTS), WARM_ROUNDS):
        await soak.round(fault)
    tasks, files, memory = len(asyncio.all_tasks()), open_files(), resident_bytes()
    clock = asyncio.get_running_loop().time
    end = clock() + SECONDS
    for fault in cycle(FAULTS):
        await soak.round(fault)
        if clock() > end:
            break

    async def is_quiet() -> bool | None:
        has_more = len(asyncio.all_tasks()) > tasks or open_files() > files + SLACK[backend]
        return None if has_more or len(soak.server.connections) > MAX_CONNECTIONS else True

    await until(is_quiet)
    assert resident_bytes() - memory < GROWTH_BYTES * max(1, SECONDS / 300)


# PostgreSQL's pool opens connections as it needs them, twice its size at the most.
SLACK: Final = {"sqlite": 2 * MAX_CONNECTIONS, "postgresql": 20 + 2 * MAX_CONNECTIONS}
