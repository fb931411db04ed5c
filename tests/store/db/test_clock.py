"""The database's clock decides, however far off the machine's own is (invariant 3)."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from app.domain.clock import SteadyClock, SystemClock
from app.domain.errors import Unavailable
from app.store.db.clock import DatabaseClock
from app.store.db.database import Database
from app.store.outbox import results as outcomes
from tests.support.rows import HOUR, leased_messages, made_profile, made_tenant, queued_message
from tests.support.skewed_clock import SkewedClock

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_the_time_is_the_databases(database: Database, minutes: float) -> None:
    """From the first measurement on; SQLite's is that of its machine."""
    clock = DatabaseClock(database, SkewedClock(timedelta(minutes=minutes)))
    await clock.measure()
    there = SystemClock().now()
    if database.is_postgresql:
        async with database.reading() as connection:
            there = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    assert abs(clock.now() - there) < SECOND


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_a_step_of_the_machines_clock_moves_no_time(
    database: Database, minutes: float
) -> None:
    """On PostgreSQL never; on SQLite, which has no other clock, at the next measurement."""
    wall, uptime = SkewedClock(timedelta(0)), 1000.0
    clock = DatabaseClock(database, SteadyClock(lambda: uptime), wall=wall)
    await clock.measure()
    right, wall.skew = clock.now(), timedelta(minutes=minutes)
    assert clock.now() == right
    uptime += 5
    assert clock.now() == right + 5 * SECOND
    await clock.measure()
    step = timedelta(0) if database.is_postgresql else wall.skew
    assert abs(clock.now() - right - step) < 10 * SECOND


def test_the_steady_clock_counts_what_the_machine_slept() -> None:
    """It begins with the machine's time, and goes on by the seconds since the machine started."""
    uptime = 1000.0
    clock = SteadyClock(lambda: uptime)
    assert abs(clock.now() - SystemClock().now()) < SECOND
    before = clock.now()
    uptime += 600
    assert clock.now() - before == timedelta(minutes=10)


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_a_clock_that_is_right_is_left_alone(database: Database) -> None:
    """The time that an answer is on its way is no skew: measuring again does not move the time."""
    base = SkewedClock(timedelta(0))
    clock = DatabaseClock(database, base)
    for _ in range(20):
        await clock.measure()
        before, now, after = base.now(), clock.now(), base.now()
        assert before <= now <= after


async def test_without_the_database_the_time_stays_what_it_was() -> None:
    """Nobody to ask: the fault is told, and the clock goes on as before."""
    base = SkewedClock(timedelta(0))
    away = Database("postgresql://nobody:none@127.0.0.1:1/none")
    clock = DatabaseClock(away, base)
    with pytest.raises(Unavailable):
        await clock.measure()
    assert abs(clock.now() - base.now()) < SECOND
    await away.close()


async def test_a_worker_whose_time_is_wrong_takes_nothing_before_its_time(
    database: Database,
) -> None:
    """Neither a lease that has not ended nor what is due later: the database's own time decides.

    SQLite has no time of its own, and one worker.
    """
    profile = await made_profile(database, await made_tenant(database))
    now = SystemClock().now()
    held = await queued_message(database, profile, created_at=now, expires_at=now + HOUR)
    await leased_messages(database, profile, owner="wrk_1", now=now + HOUR)
    later = await queued_message(database, profile, created_at=now + HOUR)
    ahead = now + 3 * HOUR
    messages = await leased_messages(database, profile, owner="wrk_2", now=ahead, is_checked=True)
    async with database.transaction() as connection:
        expired_ids = await outcomes.expire(connection, now=ahead, limit=10, is_clock_checked=True)
    expected = set() if database.is_postgresql else {held.id, later.id}
    assert ({message.id for message in messages}, expired_ids) == (expected, 0)
