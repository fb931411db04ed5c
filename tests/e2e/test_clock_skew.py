"""A machine whose clock is off does no harm: the database's time decides (invariant 3)."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import text

from app.store.db.clock import DatabaseClock
from app.store.db.database import Database
from tests.e2e.conftest import Start
from tests.support.harness import Tenant, until
from tests.support.servers.smtp_server import SmtpServer
from tests.support.skewed_clock import SkewedClock

pytestmark = pytest.mark.long

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)

LEASE_SECONDS: Final = 60

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


async def owners(database: Database) -> Counter[str]:
    """How many messages each worker holds; none of its leases ends later than its length."""
    async with database.reading() as connection:
        rows = await connection.execute(
            text(
                "SELECT lease_owner, due_at - statement_timestamp() AS left FROM messages"
                " WHERE lease_owner IS NOT NULL"
            )
        )
        held = rows.all()
    assert all(row.left <= timedelta(seconds=LEASE_SECONDS) for row in held)
    return Counter(row.lease_owner for row in held)


async def sender_of(database: Database, acme: Tenant, message_id: str) -> str:
    """Which worker has sent a message."""
    await acme.message(message_id, status="sent")
    async with database.reading() as connection:
        query = text("SELECT worker FROM attempts WHERE message_id = :id")
        return str((await connection.execute(query, {"id": message_id})).scalar_one())


@on_postgresql
@pytest.mark.parametrize("minutes", [-10, 2, 10])
async def test_a_step_of_a_workers_clock_sends_nothing_twice_and_nothing_early(
    start: Start, launch: Any, database: Database, tmp_path: Path, minutes: int
) -> None:
    """One of two machines has its clock set while both workers hold messages (invariant 3)."""
    async with SmtpServer() as slow, SmtpServer() as quick:
        gate = slow.gates["dot"] = asyncio.Event()
        heloise = await start(delivery=False)
        acme = await heloise.tenant()
        await acme.profile("slow", slow.port, max_connections=2)
        await acme.profile("quick", quick.port, max_connections=2)
        step = tmp_path / "step"
        for module, words in (
            ("app.cli", "worker"),
            ("tests.support.processes.stepping_worker", str(step)),
        ):
            launch(words, module=module, lease_seconds=LEASE_SECONDS)

        async def is_at_work() -> bool | None:
            async with database.reading() as connection:
                count = await connection.execute(text("SELECT count(*) FROM workers"))
                return count.scalar_one() == 2 or None

        await until(is_at_work)  # and each has looked at the database's clock
        later = datetime.now(UTC) + timedelta(minutes=0.75 * abs(minutes))
        scheduled = await acme.send(profile="quick", send_at=later.isoformat())
        await asyncio.to_thread(step.write_text, str(60 * minutes))

        held = [await acme.send(profile="slow") for _ in range(50)]

        async def is_shared() -> bool | None:
            return len(await owners(database)) == 2 or None

        await until(is_shared)
        sent, workers = list[str](), set[str]()
        while len(workers) < 2:  # each has looked for what it may take since
            sent.append(await acme.send(profile="quick"))
            workers.add(await sender_of(database, acme, sent[-1]))
        assert sum((await owners(database)).values()) <= len(held)
        gate.set()
        await acme.all_sent(held)
        assert (await acme.read(f"/messages/{scheduled}"))["status"] == "scheduled"
    assert len(slow.messages) == len(held)
    assert len(quick.messages) == len(sent)


@on_sqlite
async def test_what_a_clock_that_was_ahead_has_planned_is_planned_anew(
    start: Start, database: Database
) -> None:
    """Once the clock is right nothing waits for longer than its schedule ever says."""
    wall = SkewedClock(timedelta(days=1))
    busy, down = SmtpServer({"rcpt": "452 4.2.2 busy"}), SmtpServer({"banner": "421 4.3.2 busy"})
    async with busy, down:
        # A third of the lease after it is set, the clock is looked at.
        heloise = await start(clock=DatabaseClock(database, wall=wall), lease_seconds=3)
        acme = await heloise.tenant()
        retry = {"first_seconds": 600, "cap_seconds": 600}
        await acme.profile("busy", busy.port, retry=retry)
        await acme.profile("down", down.port)
        message_id = await acme.send(profile="busy")
        await acme.send(profile="down")
        await acme.recipient(message_id, "ann@example.org", status="deferred")
        await acme.state("down", "failing")
        wall.skew = timedelta(0)

        async def is_planned_anew() -> bool | None:
            [recipient] = (await acme.read(f"/messages/{message_id}"))["recipients"]
            profile = await acme.read("/profiles/down")
            moments = [recipient["next_attempt_at"], profile["next_probe_at"]]
            soon = datetime.now(UTC) + timedelta(minutes=11)
            return all(datetime.fromisoformat(moment) < soon for moment in moments) or None

        await until(is_planned_anew)
