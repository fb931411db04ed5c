"""PostgreSQL as a cluster: the primary is lost, replaced or cut off, and the promises hold.

Each test has a cluster of its own. Processes reach it in both ways: the API through HAProxy, the
worker directly, by a URL with all servers.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import pytest

from app.store.db.database import Database
from app.store.migrations import migrate as migrating
from tests.support.database.patroni import Cluster, Member, patroni_cluster
from tests.support.harness import Heloise, Process, Watched, key_of, until
from tests.support.load import Load
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import SmtpServer

pytestmark = [
    pytest.mark.long,
    pytest.mark.patroni,
    pytest.mark.postgresql,
    pytest.mark.timeout(600),
]

log = logging.getLogger(__name__)

SECRET_KEY: Final = key_of("the same for every process")
COMMIT_UNKNOWN: Final = (503, "/problems/commit-unknown")
HELD: Final = "a commit that no standby has"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster of the test's own, of which any part may be killed.

    Patroni 3.0 does not always rewind a server that crashed, so it may never be whole again.
    """
    with patroni_cluster() as cluster:
        yield cluster


@pytest.fixture
async def migrated_url(cluster: Cluster) -> str:
    """The cluster's database, with its tables and without rows."""
    await cluster.primary()
    connection = await asyncpg.connect(cluster.direct_url)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.close()
    database = Database(cluster.direct_url)
    await migrating.migrate(database)
    await database.close()
    return cluster.direct_url


async def crash(_cluster: Cluster, primary: Member) -> None:
    """Kill the server; Patroni notices it."""
    primary.kill_server()


async def lose_machine(cluster: Cluster, primary: Member) -> None:
    """Kill the server and its Patroni, which come back once there is another primary."""
    primary.kill()
    await bring_back(cluster, primary)


async def bring_back(cluster: Cluster, former_primary: Member) -> None:
    """Start a killed server again, once another one is the primary.

    Patroni 3.0 never rewinds a server that comes back in the second before etcd knows the new role
    of the other one, which has it before it appoints a synchronous standby.
    """

    async def is_replaced() -> bool | None:
        return {"primary", "sync_standby"} <= set((await cluster.roles()).values()) or None

    await until(is_replaced)
    former_primary.start()


async def switch_over(cluster: Cluster, primary: Member) -> None:
    """Have the standby take over in order, as before an upgrade of the machine."""
    await cluster.switch_over(primary)


class Watch:
    """What `/readyz` answers all the time."""

    def __init__(self, heloise: Heloise) -> None:
        self._heloise = heloise
        self.answers: set[tuple[int, str]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch while the block runs."""
        task = asyncio.create_task(self._run())
        yield
        task.cancel()

    async def _run(self) -> None:
        while True:
            answer = await self._heloise.http.get("/readyz?delivery=false")
            self.answers.add((answer.status_code, answer.json().get("type", "")))
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("fault", [crash, switch_over, lose_machine])
async def test_a_failover_under_load_loses_nothing(
    launch: Any,
    watched: Watched,
    server: SmtpServer,
    cluster: Cluster,
    fault: Callable[[Cluster, Member], Awaitable[None]],
) -> None:
    """What was answered with 202 is delivered once, and all goes on by itself (invariants 1, 4).

    The worker looks for work only once in five minutes: it hears of it again.
    """
    api: Process = launch(
        "serve",
        "--no-delivery",
        port=unused_port(),
        database_url=cluster.proxied_url,
        database_read_url=cluster.read_url,
        secret_keys=SECRET_KEY,
    )
    await api.wait_ready()
    launch("worker", poll_interval_seconds=300, secret_keys=SECRET_KEY)
    heloise = Heloise(api.url, watched)
    async with heloise.http:
        acme = await heloise.tenant()
        await acme.profile("main", server.port, max_connections=4)
        load = Load(acme)
        watch = Watch(heloise)
        async with load.running(), watch.running():
            await load.wait_accepted(50)
            primary = await cluster.primary()
            await fault(cluster, primary)
            await load.wait_accepted(50)
            delivered = len(server.messages)
            await server.wait_for_messages(delivered + 1)
        await load.assert_delivered(server)
        assert watch.answers <= {
            (200, ""),
            (503, "/problems/not-ready"),
            (503, "/problems/database-unavailable"),
        }
    log.info(
        "%s: nothing was accepted for %.1f s; %d accepted, %d refused",
        fault.__name__,
        load.longest_gap_seconds,
        len(load.accepted),
        len(load.refused),
    )
    roles = await cluster.roles()
    assert roles.get(primary.name) != "primary"


async def test_what_no_standby_has_is_not_answered_with_202(
    launch: Any, watched: Watched, server: SmtpServer, cluster: Cluster
) -> None:
    """The primary is cut off from its standbys, gives no answer, and is lost with what it wrote.

    Meanwhile `/readyz` says so. The message is on none of the other servers: had its commit been
    cancelled, Heloise would have found it on the primary and taken it for stored (invariant 1).
    """
    api: Process = launch(
        "serve", port=unused_port(), database_timeout_seconds=5, secret_keys=SECRET_KEY
    )
    await api.wait_ready()
    heloise = Heloise(api.url, watched)
    async with heloise.http:
        acme = await heloise.tenant()
        await acme.profile("main", server.port)
        await acme.message(await acme.send(), status="sent")
        primary = await cluster.primary()
        primary.stop_senders()
        body = {"to": ["ann@example.org"], "subject": HELD, "text": "Is it there?"}
        answer = await acme("POST", "/messages", json=body, timeout=60)
        assert (answer.status_code, answer.json()["type"]) == COMMIT_UNKNOWN
        assert int(answer.headers["retry-after"]) > 0

        async def is_stuck() -> bool | None:
            ready = await heloise.http.get("/readyz")
            return "synchronous standby" in ready.text or None

        await until(is_stuck)
        assert HELD not in (await acme("GET", "/messages")).text
        primary.kill()

        async def is_sent() -> bool | None:
            again = await acme("POST", "/messages", json=body | {"subject": "Hello again"})
            return again.status_code == 202 or None

        await until(is_sent)
        await bring_back(cluster, primary)
        await server.wait_for_messages(2)
        subjects = [item["subject"] for item in (await acme.read("/messages"))["items"]]
        assert HELD not in subjects
        assert not any(HELD.encode() in message.data for message in server.messages)
