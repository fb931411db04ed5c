"""SIGTERM: claim no more, finish what is in transmission in the grace time, release the rest."""

import asyncio
import subprocess
from contextlib import suppress
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.support.harness import Process, until
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import SILENCE, SmtpServer


async def test_what_is_in_transmission_is_finished_and_the_rest_given_back(
    start: Start, launch: Any
) -> None:
    """One message is being sent; those behind it wait for the next process, none is sent twice."""
    async with SmtpServer() as server:
        gate = asyncio.Event()
        server.gates["dot"] = gate
        acme = await (await start(delivery=False)).tenant()
        await acme.profile("main", server.port, max_connections=1)
        messages = [await acme.send() for _ in range(4)]
        worker: Process = launch("worker")
        await server.wait_for_messages(1)
        worker.process.terminate()
        stopping = asyncio.create_task(worker.ended())
        for message in messages[1:]:
            await acme.message(message, status="queued")
        gate.set()
        assert await stopping == 0
        await acme.message(messages[0], status="sent")
        launch("worker")
        for message in messages:
            body = await acme.message(message, status="sent")
            assert body["recipients"][0]["attempts"] == 1
        assert len(server.messages) == len(messages)


async def test_past_the_grace_time_it_is_broken_off_and_told(start: Start, launch: Any) -> None:
    """The attempt says that the server may have taken the message (invariant 5).

    What may go once at the most is uncertain; the other is sent again.
    """
    async with SmtpServer({"dot": [SILENCE, SILENCE]}) as server:
        acme = await (await start(delivery=False)).tenant()
        await acme.profile("main", server.port)
        message = await acme.send()
        once = await acme.send(guarantee="at_most_once")
        worker: Process = launch("worker", shutdown_grace_seconds=0)
        await server.wait_for_messages(2)
        assert worker.stop() == 0
        for broken_off, status in ((message, "queued"), (once, "held")):
            [attempt] = await acme.attempts(broken_off)
            assert attempt["outcome_unknown"] is True
            assert (await acme.read(f"/messages/{broken_off}"))["status"] == status
        launch("worker")
        await acme.message(message, status="sent")


@pytest.mark.parametrize("command", ["serve", "worker"])
async def test_a_second_signal_stops_at_once(start: Start, launch: Any, command: str) -> None:
    """Whatever grace time is left; what was being sent is taken over and told of."""
    async with SmtpServer({"dot": [SILENCE]}) as server:
        acme = await (await start(delivery=False)).tenant()
        await acme.profile("main", server.port)
        message = await acme.send()
        words = ("serve", "--port", str(unused_port())) if command == "serve" else ("worker",)
        patient: Process = launch(*words, lease_seconds=1, shutdown_grace_seconds=600)
        await server.wait_for_messages(1)
        patient.process.terminate()

        async def is_stopping() -> bool | None:
            log = await asyncio.to_thread(patient.log.read_text)
            return "Shutting down" in log or command == "worker" or None

        await until(is_stopping)
        await asyncio.to_thread(_insist, patient)
        launch("worker")
        await acme.message(message, status="sent")
        assert (await acme.attempts(message))[0]["outcome_unknown"] is True


def _insist(process: Process) -> None:
    """Signal again until it has ended."""
    while process.process.poll() is None:
        process.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.process.wait(0.2)


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_workers_are_replaced_one_by_one_under_load(
    start: Start, launch: Any, server: SmtpServer
) -> None:
    """A deployment sends nothing twice and loses nothing."""
    acme = await (await start(delivery=False)).tenant()
    await acme.profile("main", server.port, max_connections=4)
    workers: list[Process] = [launch("worker") for _ in range(2)]
    for worker in workers:
        await until(worker.delivers)
    messages: list[str] = []
    for _ in range(3):
        messages += await asyncio.gather(*(acme.send() for _ in range(30)))
        workers.append(launch("worker"))
        await until(workers[-1].delivers)
        assert await asyncio.to_thread(workers.pop(0).stop) == 0
    for message in messages:
        sent = await acme.message(message, status="sent")
        assert sent["recipients"][0]["attempts"] == 1
    assert len(server.messages) == len({mail.data for mail in server.messages}) == len(messages)
