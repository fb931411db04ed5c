"""Nobody waits for somebody else: not for a backlog, a limit, or a slow server."""

import asyncio

from tests.e2e.conftest import Start
from tests.fixtures.smtp_server import SmtpServer

BACKLOG = 300


async def test_a_backlog_a_limit_and_a_slow_server_delay_nobody_else(start: Start) -> None:
    """While one tenant's messages wait behind all of these, another's goes straight through."""
    async with SmtpServer() as slow, SmtpServer() as server:
        slow.gates["mail"] = asyncio.Event()  # it answers nothing for as long as the test lasts
        heloise = await start()
        acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
        await acme.profile("slow", slow.port, max_connections=2)
        await acme.profile(
            "limited", server.port, rate_limit={"messages": 1, "per_seconds": 86_400}
        )
        await other.profile("main", server.port)
        for _ in range(BACKLOG // 2):
            await asyncio.gather(acme.send(profile="slow"), acme.send(profile="limited"))
        await slow.wait_until(lambda seen: seen.open_connections == 2)
        await other.message(await other.send(), status="sent")
        waiting = await acme.read("/messages?status=queued&limit=200")
        assert len(waiting["items"]) >= BACKLOG // 2
        slow.gates.pop("mail").set()
