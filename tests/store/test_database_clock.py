"""The database's clock decides, however far off the machine's own is (invariant 3)."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from app.domain.errors import Unavailable
from app.store.database import Database
from app.store.database_clock import DatabaseClock
from tests.fixtures.skewed_clock import SkewedClock


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_the_time_is_the_databases(database: Database, minutes: float) -> None:
    """On PostgreSQL, from the first measurement on; SQLite's time is its machine's own."""
    base = SkewedClock(timedelta(minutes=minutes))
    clock = DatabaseClock(database, base)
    await clock.measure()
    if not database.is_postgresql:
        assert abs(clock.now() - base.now()) < timedelta(seconds=1)
        return
    async with database.reading() as connection:
        there = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    assert abs(clock.now() - there) < timedelta(seconds=1)


async def test_a_step_of_the_machines_clock_is_made_good(database: Database) -> None:
    """At the next measurement; without one the time goes with the machine's."""
    base = SkewedClock(timedelta(0))
    clock = DatabaseClock(database, base)
    await clock.measure()
    right, base.skew = clock.now(), timedelta(hours=1)
    assert clock.now() - right >= timedelta(hours=1)
    await clock.measure()
    expected = timedelta(0) if database.is_postgresql else timedelta(hours=1)
    assert abs(clock.now() - right - expected) < timedelta(seconds=10)


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
    assert abs(clock.now() - base.now()) < timedelta(seconds=1)
    await away.close()
