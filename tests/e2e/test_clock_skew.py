"""A machine whose clock is off does no harm: the database's time decides (invariant 3)."""

import asyncio
from datetime import timedelta

import pytest

from app.store.database import Database
from app.store.database_clock import DatabaseClock
from tests.e2e.conftest import Start
from tests.fixtures.skewed_clock import SkewedClock
from tests.fixtures.smtp_server import SmtpServer

pytestmark = pytest.mark.long

on_postgresql = pytest.mark.parametrize(
    "backend", [pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)


@on_postgresql
@pytest.mark.parametrize("minutes", [-10, 10])
async def test_no_lease_is_stolen_by_a_clock_that_is_off(
    start: Start, database: Database, minutes: float
) -> None:
    """What one worker has in hand, the other leaves alone, whichever of them is off."""
    async with SmtpServer() as server:
        gate = server.gates["dot"] = asyncio.Event()
        right = await start(lease_seconds=60)
        acme = await right.tenant()
        await acme.profile("main", server.port, max_connections=4)
        held = [await acme.send() for _ in range(4)]
        await server.wait_for_messages(2)
        await start(
            clock=DatabaseClock(database, SkewedClock(timedelta(minutes=minutes))),
            lease_seconds=60,
        )
        later = [await acme.send() for _ in range(10)]
        await server.wait_for_messages(4)
        gate.set()
        for message_id in (*held, *later):
            await acme.message(message_id, status="sent")
            (attempt,) = await acme.attempts(message_id)
            assert attempt["outcome_unknown"] is False
    assert len(server.messages) == len(held) + len(later)


@on_postgresql
@pytest.mark.parametrize("minutes", [-10, 10])
async def test_no_message_is_late_or_expires_for_a_clock_that_is_off(
    start: Start, database: Database, server: SmtpServer, minutes: float
) -> None:
    """Accepted by the one and delivered by the other, with five minutes to live."""
    clock = DatabaseClock(database, SkewedClock(timedelta(minutes=minutes)))
    off = await start(clock=clock, delivery=False, message_max_age_seconds=300)
    acme = await off.tenant()
    await acme.profile("main", server.port)
    messages = [await acme.send() for _ in range(5)]
    await start(message_max_age_seconds=300)
    await acme.all_sent(messages)


@on_postgresql
@pytest.mark.parametrize("minutes", [-10, 10])
async def test_a_worker_that_is_off_delivers_at_once(
    start: Start, database: Database, server: SmtpServer, minutes: float
) -> None:
    """It waits for no moment that has come, and expires nothing whose time has not."""
    right = await start(delivery=False, message_max_age_seconds=300)
    acme = await right.tenant()
    await acme.profile("main", server.port)
    messages = [await acme.send() for _ in range(5)]
    await start(clock=DatabaseClock(database, SkewedClock(timedelta(minutes=minutes))))
    for message_id in messages:
        sent = await acme.message(message_id, status="sent")
        assert sent["recipients"][0]["attempts"] == 1
