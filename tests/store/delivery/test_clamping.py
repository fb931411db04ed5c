"""A time that no schedule could have made is not believed."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.domain.delivery.retry import GREYLIST, PROBE
from app.domain.types import Profile, RecipientStatus, RetryPolicy
from app.store.db.database import Database
from app.store.delivery import lanes, shared_limits, workers
from app.store.delivery.clamping import LONGEST_LEASE, clamp_times
from app.store.tables import core as tables
from tests.support.rows import (
    HOUR,
    MINUTE,
    NOW,
    failing_profile,
    health_of,
    leased_messages,
    made_profile,
    made_tenant,
    queued_message,
)

DAY = timedelta(days=1)


@pytest.fixture
async def profile(database: Database) -> Profile:
    """A profile that tries again within half an hour."""
    retry = RetryPolicy(cap_seconds=1800.0)
    return await made_profile(database, await made_tenant(database), retry=retry)


async def count_clamped(database: Database) -> int:
    async with database.transaction() as connection:
        return await clamp_times(connection, now=NOW, lease=MINUTE)


async def due(database: Database, message_id: str) -> datetime | None:
    query = select(tables.messages.c.due_at).where(tables.messages.c.id == message_id)
    async with database.reading() as connection:
        due_at: datetime | None = (await connection.execute(query)).scalar_one()
        return due_at


async def defer_until(database: Database, profile: Profile, moment: datetime) -> str:
    """A message that was tried, and is to be tried again at a moment."""
    message = await queued_message(database, profile, expires_at=NOW + 9 * DAY)
    async with database.transaction() as connection:
        await connection.execute(
            update(tables.recipients)
            .where(tables.recipients.c.message_id == message.id)
            .values(status=RecipientStatus.DEFERRED.value, attempts=1, next_attempt_at=moment)
        )
        await connection.execute(
            update(tables.messages).where(tables.messages.c.id == message.id).values(due_at=moment)
        )
    return message.id


async def test_a_retry_waits_no_longer_than_the_longest_of_its_profile(
    database: Database, profile: Profile
) -> None:
    """And of a recipient, as of its message; one that is planned right stays."""
    right = await defer_until(database, profile, NOW + 10 * MINUTE)
    misdated = await defer_until(database, profile, NOW + DAY)
    assert await count_clamped(database) == 1
    assert await due(database, right) == NOW + 10 * MINUTE
    assert await due(database, misdated) == NOW + 30 * MINUTE
    claimed = await leased_messages(database, profile, owner="wrk_1", now=NOW + 30 * MINUTE)
    times = {message.recipients[0].next_attempt_at for message in claimed}
    assert times == {NOW + 10 * MINUTE, NOW + 30 * MINUTE}
    assert GREYLIST.cap < 30 * MINUTE


async def test_what_was_never_tried_is_due_at_once_or_when_it_was_asked_for(
    database: Database, profile: Profile
) -> None:
    """A scheduled message keeps its time, however far ahead."""
    accepted = await queued_message(
        database, profile, created_at=NOW + DAY, expires_at=NOW + 9 * DAY
    )
    scheduled = await queued_message(
        database, profile, send_at=NOW + 5 * DAY, expires_at=NOW + 9 * DAY
    )
    assert await count_clamped(database) == 1
    assert await due(database, accepted.id) == NOW
    assert await due(database, scheduled.id) == NOW + 5 * DAY


async def test_a_lease_ends_after_the_longest_there_may_be(
    database: Database, profile: Profile
) -> None:
    """Whoever holds it."""
    message = await queued_message(database, profile, expires_at=NOW + 9 * DAY)
    await leased_messages(database, profile, owner="wrk_1", now=NOW + DAY)
    assert await count_clamped(database) == 1
    assert await due(database, message.id) == NOW + LONGEST_LEASE


async def test_a_failing_profile_is_probed_after_the_longest_wait(database: Database) -> None:
    """Its next probe was planned for tomorrow."""
    profile = await failing_profile(database, await made_tenant(database))
    async with database.transaction() as connection:
        await connection.execute(update(tables.lanes).values(next_probe_at=NOW + DAY))
    assert await count_clamped(database) == 1
    assert (await health_of(database, profile)).next_probe_at == NOW + PROBE.cap
    assert await count_clamped(database) == 0


async def test_a_probe_that_is_planned_for_tomorrow_is_due(database: Database) -> None:
    """Whoever looks for work finds it, and takes it, before anything is brought back."""
    profile = await failing_profile(database, await made_tenant(database))
    for planned, is_due in ((NOW + 30 * MINUTE, False), (NOW + DAY, True)):
        async with database.transaction() as connection:
            await connection.execute(update(tables.lanes).values(next_probe_at=planned))
            lane = await lanes.find(connection, profile_id=profile.id, now=NOW)
            is_locked = await lanes.lock_probe(
                connection, profile_id=profile.id, revision=profile.revision, now=NOW
            )
        assert (lane.due_at <= NOW, is_locked) == (is_due, is_due)


async def test_what_says_that_it_was_tomorrow_says_that_it_is_now(
    database: Database, profile: Profile
) -> None:
    """A worker that was heard of, permits that were counted: neither waits for a day to pass."""
    tomorrow: dict[str, Any] = {"now": NOW + DAY}
    async with database.transaction() as connection:
        await workers.record_heartbeat(
            connection,
            worker_id="wrk_1",
            hostname="host-1",
            pid=1,
            started_at=NOW,
            **tomorrow,
        )
        await shared_limits.lease_connections(
            connection,
            max_connections={(profile.id, 0): 2},
            worker_id="wrk_1",
            until=NOW + DAY + MINUTE,
            **tomorrow,
        )
    assert await count_clamped(database) == 2
    async with database.transaction() as connection:
        assert await workers.list_hostnames(connection, since=NOW + MINUTE) == []
        granted = await shared_limits.lease_connections(
            connection,
            max_connections={(profile.id, 0): 2},
            worker_id="wrk_2",
            now=NOW + 2 * HOUR,
            until=NOW + 3 * HOUR,
        )
    assert granted == {(profile.id, 0): 2}
