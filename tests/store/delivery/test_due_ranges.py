"""Beside an old transaction, what a poll and a claim read does not grow with what was settled."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app.domain.delivery.due_ranges import DueRange, DueRanges
from app.domain.types import Priority, Profile
from app.store.db.database import Database
from app.store.delivery import lanes
from app.store.outbox import acceptance, claims
from app.store.tables import core as tables
from tests.support.database.statements import record_statements
from tests.support.rows import (
    HOUR,
    MINUTE,
    NOW,
    PLENTY,
    a_message,
    made_profile,
    made_tenant,
    queued_message,
)

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.parametrize("backend", ["postgresql"], indirect=True),
]

SETTLED = 1000
SECOND = timedelta(seconds=1)


class Worker:
    """Polls and claims for one profile in rounds, the first two of which were full and slow."""

    def __init__(self, database: Database, profile: Profile) -> None:
        self._database = database
        self._profile = profile
        self._seconds = 0.0
        self.due_ranges = DueRanges(lambda: self._seconds)
        self._now = NOW
        for _ in range(2):
            self.due_ranges.begin_round(NOW, ahead=SECOND)
            self.due_ranges.note_poll({profile.id: None}, NOW, seconds=1)

    async def claim(self, seconds: float = 1) -> tuple[list[str], int]:
        """Run a round so long after the last one; what it claims, and how many pages it reads."""
        self._seconds += seconds
        self._now += timedelta(seconds=seconds)
        ranges = self.due_ranges.begin_round(self._now, ahead=SECOND)
        async with self._database.transaction() as connection:
            with record_statements() as statements:
                waiting = await self._poll(connection, ranges)
                claimed = await claims.claim(
                    connection,
                    [
                        claims.ClaimRequest(
                            self._profile.id,
                            100,
                            PLENTY,
                            ranges=self.due_ranges.list_to_claim(self._profile.id, self._now),
                        )
                    ],
                    owner="wrk_1",
                    now=self._now,
                    lease_until=self._now + MINUTE,
                )
            looks = [sql for sql in statements if "due_at" in sql[0] and "SELECT" in sql[0]]
            assert len(looks) == 2
            pages = sum([await count_pages(connection, *look) for look in looks])
        self.due_ranges.note_claim(self._profile.id, self._now, rest_at=None)
        assert set(waiting) <= {self._profile.id}
        return [message.id for message in claimed], pages

    async def _poll(
        self, connection: Any, ranges: Mapping[str, Sequence[DueRange]] | None
    ) -> list[str]:
        waiting = await lanes.load_waiting(connection, now=self._now, ranges=ranges)
        due_times = {lane.profile_id: lane.message_due_at for lane in waiting}
        self.due_ranges.note_poll(due_times, self._now, seconds=1)
        return list(due_times)


async def count_pages(connection: Any, sql: str, parameters: Any) -> int:
    """How many pages a statement reads."""
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"
    result = await connection.exec_driver_sql(explain, parameters)
    [plan] = result.scalar_one()
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


@pytest.fixture
async def profile(database: Database) -> Profile:
    """A profile without messages."""
    return await made_profile(database, await made_tenant(database))


@pytest.fixture
async def snapshot(database: Database, profile: Profile) -> AsyncIterator[None]:
    """A transaction that can still see every row, so that none is removed."""
    assert profile
    async with database.transaction() as connection:
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        await connection.execute(text("SELECT count(*) FROM messages"))
        yield


async def settle(database: Database, profile: Profile, count: int) -> None:
    """Accept and settle messages whose turns came in the last half hour."""
    sent = [
        a_message(profile, created_at=NOW - HOUR / 2 + n * HOUR / 2 / count) for n in range(count)
    ]
    async with database.transaction() as connection:
        await acceptance.accept(connection, sent)
    async with database.transaction() as connection:
        await connection.execute(
            tables.messages.update()
            .where(tables.messages.c.due_at.is_not(None))
            .values(status="sent", due_at=None, finished_at=NOW, lease_owner=None)
        )
        await connection.execute(text("ANALYZE messages"))


@pytest.mark.usefixtures("snapshot")
async def test_a_round_reads_as_much_after_thousands_of_settlements(
    database: Database, profile: Profile
) -> None:
    """A full one reads more each time."""
    worker = Worker(database, profile)
    pages, full_pages = [], []
    for number in range(3):
        await settle(database, profile, SETTLED)
        message = await queued_message(database, profile, created_at=NOW + number * SECOND)
        ids, read = await worker.claim()
        assert ids == [message.id]
        pages.append(read)
        full_pages.append((await Worker(database, profile).claim(seconds=60))[1])
    grown, full_grown = pages[-1] - pages[0], full_pages[-1] - full_pages[0]
    assert full_grown > 1000
    assert grown < full_grown / 10, (pages, full_pages)


@pytest.mark.usefixtures("snapshot")
@pytest.mark.parametrize("priority", Priority)
async def test_a_new_message_of_any_priority_is_claimed_in_the_next_round(
    database: Database, profile: Profile, priority: Priority
) -> None:
    """Its head start takes it behind what was settled long ago."""
    worker = Worker(database, profile)
    message = await queued_message(database, profile, priority=priority)
    assert (await worker.claim())[0] == [message.id]
    assert (await worker.claim())[0] == []


async def test_a_message_before_the_ranges_is_claimed_in_the_next_full_round(
    database: Database, profile: Profile
) -> None:
    """As one whose lease another worker has ended: it waits for twenty times a full poll."""
    worker = Worker(database, profile)
    message = await queued_message(database, profile, created_at=NOW - HOUR / 4)
    assert (await worker.claim())[0] == []
    assert (await worker.claim(seconds=18))[0] == []
    assert (await worker.claim())[0] == [message.id]


async def test_a_message_that_this_worker_freed_is_claimed_soon(
    database: Database, profile: Profile
) -> None:
    """After twice the time of a full poll."""
    worker = Worker(database, profile)
    message = await queued_message(database, profile, created_at=NOW - HOUR / 4)
    worker.due_ranges.note_freed()
    assert (await worker.claim())[0] == []
    assert (await worker.claim())[0] == [message.id]


async def test_a_poll_in_ranges_finds_profiles_that_it_does_not_know(
    database: Database, profile: Profile
) -> None:
    """Before, between and behind the others, in some rounds."""
    others = [
        await made_profile(database, await made_tenant(database, f"other-{n}")) for n in range(5)
    ]
    for other in others:
        await queued_message(database, other, created_at=NOW - HOUR)
    known = {others[1].id: [DueRange(NOW, NOW)], others[3].id: [DueRange(NOW, NOW)]}
    async with database.reading() as connection:
        waiting = await lanes.load_waiting(connection, now=NOW, ranges=known)
    due_times = {lane.profile_id: lane.message_due_at for lane in waiting}
    assert due_times == {others[n].id: NOW - HOUR - MINUTE for n in (0, 2, 4)}
    assert profile.id not in due_times
