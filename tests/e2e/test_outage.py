"""An outage of the server: ten minutes with ten thousand messages queued."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from app.domain.ids import new_id
from app.domain.types import Mailbox, NewMessage, RecipientAddress, RecipientKind
from app.store import outbox
from app.store.database import Database
from app.store.tables import recipients
from tests.e2e.conftest import Start
from tests.e2e.harness import Tenant, until
from tests.fixtures.hand_clock import HandClock
from tests.fixtures.smtp_server import SmtpServer

pytestmark = pytest.mark.long

MESSAGES = 10_000
ADDRESS = Mailbox("ann@example.org")


async def queue(database: Database, acme: Tenant, profile_id: str, clock: HandClock) -> None:
    """Write so many messages into the outbox, as the API would."""
    now = clock.now()
    for start in range(0, MESSAGES, 500):
        batch = [
            NewMessage(
                id=new_id("msg"),
                tenant_id=acme.tenant_id,
                profile_id=profile_id,
                envelope_from="main@example.com",
                sender=Mailbox("main@example.com"),
                recipients=(RecipientAddress(ADDRESS, RecipientKind.TO),),
                subject="x",
                message_id_header=f"<{number}@example.com>",
                tags=(),
                metadata={},
                mime=b"Subject: x\r\n\r\nx\r\n",
                created_at=now,
                expires_at=now + timedelta(days=3),
            )
            for number in range(start, start + 500)
        ]
        async with database.transaction() as connection:
            await outbox.accept(connection, batch)


async def test_an_outage_costs_no_message_and_no_attempt(start: Start, database: Database) -> None:
    """The clock stands still from the successful probe on: the backlog drains without waiting."""
    clock = HandClock()
    async with SmtpServer({"banner": "421 4.3.2 Down for maintenance"}) as server:
        acme = await (await start(clock=clock)).tenant()
        profile = await acme.profile("main", server.port, max_connections=4)
        await queue(database, acme, profile["id"], clock)
        await acme("POST", "/profiles/main/resume")
        await acme.state("main", "failing")
        for _ in range(10):
            await acme.settled()
            await clock.advance(minutes=1)
        server.script.clear()
        await acme.settled()
        await clock.advance(minutes=5)
        await server.wait_for_messages(MESSAGES)
        await acme.state("main", "active")

        async def tried_once() -> bool | None:
            async with database.reading() as connection:
                query = select(recipients.c.status, recipients.c.attempts, func.count())
                counted = query.group_by(recipients.c.status, recipients.c.attempts)
                found = [tuple(row) for row in await connection.execute(counted)]
            return found == [("sent", 1, MESSAGES)] or None

        await until(tried_once)
