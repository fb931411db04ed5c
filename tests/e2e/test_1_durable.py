"""Invariant 1: 202 means durable; kill -9 at any instant loses no accepted message."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.support.harness import Heloise, Process, Watched
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import SmtpServer

MESSAGES = 60
PAUSED = 5


@pytest.mark.slow
async def test_what_was_accepted_is_delivered_after_a_kill(
    launch: Any, watched: Watched, server: SmtpServer
) -> None:
    """SIGKILL while some are in transmission and some are being accepted; then a new process.

    Every message that was answered with 202 arrives, of a queue that was never looked at too. What
    arrives twice was in transmission when the process died (invariant 5), and nothing arrives that
    was not asked for.
    """
    port = unused_port()
    first: Process = launch("serve", port=port, lease_seconds=1)
    await first.wait_ready()
    heloise = Heloise(first.url, watched)
    async with heloise.http:
        acme = await heloise.tenant()
        await acme.profile("main", server.port, max_connections=2)
        await acme.profile("paused", server.port)
        await acme("POST", "/profiles/paused/pause")
        accepted = [await acme.send(profile="paused") for _ in range(PAUSED)]

        async def send(number: int) -> None:
            try:
                accepted.append(await acme.send(profile="main", subject=f"n{number}"))
            except httpx.TransportError:
                return  # it was killed before it answered: nothing was promised

        sending = asyncio.gather(*(send(number) for number in range(MESSAGES)))
        await server.wait_for_messages(5)
        first.kill()
        await sending
        assert len(accepted) > PAUSED
        second: Process = launch("serve", port=port)
        await second.wait_ready()
        await acme("POST", "/profiles/paused/resume")
        for message_id in accepted:
            sent = await acme.message(message_id, status="sent")
            raw = (await acme("GET", f"/messages/{message_id}/raw")).content
            assert raw in {received.data for received in server.messages}
            assert sent["recipients"][0]["status"] == "sent"
        assert second.stop() == 0
