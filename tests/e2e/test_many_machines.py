"""Workers on machines of different names, and one profile: one name on the wire.

They deliver one after another, so that each of them is known to have had its turn.
"""

import asyncio
from typing import Any, Final

import pytest

from tests.e2e.conftest import Start
from tests.support.harness import Process, until
from tests.support.machine import name_machine
from tests.support.servers.smtp_server import SmtpServer

MACHINES: Final = ("worker-1.example.com", "worker-2.example.com", "worker-3.example.com")

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.parametrize("backend", ["postgresql"], indirect=True),
]


def launch_worker(launch: Any, machine: str) -> Process:
    """A worker on a machine of this name."""
    with name_machine(machine) as is_named:
        pass
    if is_named:
        process: Process = launch("worker", machine=machine)
    else:
        process = launch(machine, module="tests.support.processes.named_worker")
    return process


@pytest.mark.parametrize(
    ("ehlo_name", "expected"), [("mail.example.com", ("mail.example.com",) * 3), (None, MACHINES)]
)
async def test_a_name_that_was_set_is_said_by_every_machine(
    ehlo_name: str | None,
    expected: tuple[str, ...],
    start: Start,
    launch: Any,
    server: SmtpServer,
) -> None:
    """Without one each machine would say its own (invariant 8)."""
    acme = await (await start(delivery=False)).tenant()
    await acme.profile("main", server.port, ehlo_name=ehlo_name)
    for machine in MACHINES:
        worker = launch_worker(launch, machine)
        await until(worker.delivers)
        await acme.message(await acme.send(), status="sent")
        await asyncio.to_thread(worker.stop)
    assert [session.name for session in server.sessions] == list(expected)
