"""Invariant 1: 202 means durable; kill -9 at any instant loses no accepted message."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.support.harness import Heloise, Process, Watched
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import SmtpServer

MESSAGES = 60


@pytest.mark.slow
async def test_what_was_accepted_is_delivered_after_a_kill(
    launch: Any, watched: Watched, server: SmtpServer
) -> None:
    """SIGKILL while some are in transmission and some are being accepted; then a new process.

    Every message that was answered with 202 arrives. What arrives twice was in transmission when
    the process died (invariant 5), and nothing arrives that was not asked for.
    """
    port = unused_port()
    first: Process = launch("serve", port=port, lease_seconds=1)
    await first.wait_ready()
    heloise = Heloise(first.url, watched)
    async with heloise.http:
        acme = await heloise.tenant()
        await acme.profile("main", server.port, max_connections=2)
        accepted: list[str] = []

        async def send(number: int) -> None:
            try:
                accepted.append(await acme.send(subject=f"n{number}"))
            except httpx.TransportError:
                return  # it was killed before it answered: nothing was promised

        sending = asyncio.gather(*(send(number) for number in range(MESSAGES)))
        await server.wait_for_messages(5)
        first.kill()
        await sending
        assert accepted
        second: Process = launch("serve", port=port)
        await second.wait_ready()
        for message_id in accepted:
            sent = await acme.message(message_id, status="sent")
            raw = (await acme("GET", f"/messages/{message_id}/raw")).content
            assert raw in {received.data for received in server.messages}
            assert sent["recipients"][0]["status"] == "sent"
        assert second.stop() == 0


async def test_what_waited_is_delivered_after_a_kill(
    launch: Any, watched: Watched, server: SmtpServer
) -> None:
    """A queue that was never looked at is there after a kill."""
    port = unused_port()
    first: Process = launch("serve", "--no-delivery", port=port)
    await first.wait_ready()
    heloise = Heloise(first.url, watched)
    async with heloise.http:
        acme = await heloise.tenant()
        await acme.profile("main", server.port)
        ids = [await acme.send() for _ in range(5)]
        first.kill()
        launch("worker")
        await server.wait_for_messages(5)
        second: Process = launch("serve", "--no-delivery", port=port)
        await second.wait_ready()
        await acme.all_sent(ids)
    assert len(server.messages) == len(ids)
