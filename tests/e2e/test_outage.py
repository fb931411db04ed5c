"""An outage of the server: ten minutes with a thousand messages queued."""

from collections import Counter
from datetime import datetime
from typing import Final

import pytest
from sqlalchemy import func, select

from app.store.db.database import Database
from app.store.tables.core import recipients
from tests.e2e.backlog import Backlog
from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import Tenant, until
from tests.support.servers.smtp_server import SmtpServer

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

MESSAGES: Final = 1_000


async def by_attempts(database: Database) -> Counter[tuple[str, int]]:
    """How many recipients have each status, after so many attempts."""
    which = (recipients.c.status, recipients.c.attempts)
    query = select(*which, func.count()).group_by(*which)
    async with database.reading() as connection:
        rows = await connection.execute(query)
        return Counter({(status, attempts): count for status, attempts, count in rows})


async def between_probes(acme: Tenant, clock: HandClock) -> None:
    """Return once no probe is due, and none under way: one that began before would fail later."""

    async def fact() -> bool | None:
        at = (await acme.read("/profiles/main"))["next_probe_at"]
        return datetime.fromisoformat(at) > clock.now() or None

    await until(fact)
    await acme.settled()


async def test_an_outage_costs_no_message_and_no_attempt(start: Start, database: Database) -> None:
    """The clock stands still from the successful probe on: the backlog drains without waiting."""
    clock = HandClock()
    async with SmtpServer({"banner": "421 4.3.2 Down for maintenance"}) as server:
        acme = await (await start(clock=clock)).tenant()
        profile = await acme.profile("main", server.port, max_connections=4)
        backlog = Backlog(database, acme.tenant_id, ["ann@example.org"])
        await backlog.add(profile, MESSAGES)
        await acme("POST", "/profiles/main/resume")
        await acme.state("main", "failing")
        for _ in range(10):
            await acme.settled()
            await clock.advance(minutes=1)
        await between_probes(acme, clock)
        assert await by_attempts(database) == {("queued", 0): MESSAGES}
        server.script.clear()
        await clock.advance(minutes=5)
        await server.wait_for_messages(MESSAGES)
        await acme.settled()
        assert await by_attempts(database) == {("sent", 1): MESSAGES}
        await acme.state("main", "active")
