"""Three workers on machines of different names, and one profile: one name on the wire.

A profile's connections are shared evenly: of three, each worker has one, and all are open at once.
"""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest

from app.domain.clock import SystemClock
from app.store import workers
from app.store.database import Database
from tests.e2e.conftest import Start
from tests.e2e.harness import Process, until
from tests.fixtures.machine import machine_named
from tests.fixtures.smtp_server import SmtpServer

LONG_AGO: Final = timedelta(minutes=5)
MACHINES: Final = ("worker-1.example.com", "worker-2.example.com", "worker-3.example.com")

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.parametrize("backend", ["postgresql"], indirect=True),
]


def launched(launch: Any, machine: str) -> Process:
    """A worker on a machine of this name."""
    with machine_named(machine) as is_named:
        words, module = (
            (["worker"], "app.cli") if is_named else ([machine], "tests.fixtures.named_worker")
        )
        process: Process = launch(*words, module=module)
    return process


async def all_alive(database_url: str) -> bool | None:
    """Whether each worker knows of the others, by which it takes no more than its share."""
    database = Database(database_url)
    async with database.reading() as connection:
        known = await workers.seen(connection, since=SystemClock().now() - LONG_AGO)
    await database.close()
    return sorted(known) == list(MACHINES) or None


@pytest.mark.parametrize(
    ("ehlo_name", "said"), [("mail.example.com", ("mail.example.com",) * 3), (None, MACHINES)]
)
async def test_a_name_that_was_set_is_said_by_every_machine(
    ehlo_name: str | None,
    said: tuple[str, ...],
    start: Start,
    launch: Any,
    server: SmtpServer,
    migrated_url: str,
) -> None:
    """Without one each machine would say its own (invariant 8)."""
    acme = await (await start(delivery=False)).tenant()
    await acme.profile("main", server.port, ehlo_name=ehlo_name, max_connections=len(MACHINES))
    for machine in MACHINES:
        launched(launch, machine)
    await until(partial(all_alive, migrated_url))
    gate = server.gates["dot"] = asyncio.Event()
    messages = [await acme.send() for _ in MACHINES]
    await server.wait_until(lambda seen: seen.open_connections == len(MACHINES))
    gate.set()
    for message in messages:
        await acme.message(message, status="sent")
    assert sorted(seen.name or "" for seen in server.sessions) == sorted(said)
