"""Nobody waits for somebody else: not for a backlog, a limit, or a slow server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest

from app.store.db.database import Database
from tests.e2e.backlog import Backlog
from tests.e2e.conftest import Start
from tests.support.harness import Tenant, Watched
from tests.support.servers.counting_server import CountingServer
from tests.support.servers.smtp_server import SmtpServer

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

BACKLOG: Final = 6_000
BEHIND_EACH: Final = 300  # more than a lane has in hand
SENT_AMID: Final = 10
# What goes out of the backlog while another's message is accepted and sent. Were that one to wait
# for what stands before it, it would be all of it.
OVERTAKING: Final = 1_500


@pytest.fixture
async def crowd(
    database: Database,
    watched: Watched,  # noqa: ARG001 - it reads the database once the crowd has gone
) -> AsyncIterator[Database]:
    """The database, emptied before it is searched for secrets: this crowd has none."""
    yield database
    await Backlog(database, "").forget()


async def queue(database: Database, acme: Tenant, backlog: int, slow: int) -> None:
    """Give a tenant thousands of messages, behind three different things."""
    queued = Backlog(database, acme.tenant_id, ["ann@example.org"])
    patient = {"timeouts": {"connect": 300, "command": 300, "data": 300}}
    rate = {"rate_limit": {"messages": 1, "per_seconds": 86_400}}
    await queued.add(await acme.profile("backlog", backlog), BACKLOG)
    await queued.add(await acme.profile("slow", slow, **patient), BEHIND_EACH)
    await queued.add(await acme.profile("limited", backlog, **rate), BEHIND_EACH)


async def test_a_backlog_a_limit_and_a_slow_server_delay_nobody_else(
    crowd: Database, start: Start
) -> None:
    """While one tenant's messages wait behind all of these, another's go straight through."""
    async with CountingServer() as backlog, SmtpServer() as slow, SmtpServer() as server:
        slow.gates["mail"] = asyncio.Event()  # it answers nothing for as long as the test lasts
        heloise = await start(delivery=False)
        acme = await heloise.tenant("acme")
        await queue(crowd, acme, backlog.port, slow.port)
        other = await (await start()).tenant("other")
        await other.profile("main", server.port)
        await backlog.wait_for_count(1)
        await slow.wait_until(lambda server: server.open_connections > 0)
        for number in range(1, SENT_AMID + 1):
            before = backlog.message_count
            await other.send()
            await server.wait_for_messages(number)
            assert backlog.message_count - before < OVERTAKING
        assert backlog.message_count < BACKLOG
        assert not slow.messages
        slow.gates.pop("mail").set()
