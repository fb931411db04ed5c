"""The state of the queue: counts, ages, throughput and the profiles that hold mail up."""

from typing import Any

import pytest
from sqlalchemy import insert, update

from app.domain.outcome.outcome import Verdict
from app.domain.types import Destination, MessageStatus, Profile, ProfileState
from app.store.db.database import Database
from app.store.delivery import queue, workers
from app.store.delivery.queue import QueueScope
from app.store.outbox import destination_queues
from app.store.profiles import queries as profiles
from app.store.tables import core as tables
from tests.support.rows import (
    HOUR,
    MINUTE,
    NOW,
    an_attempt,
    failing_profile,
    leased_messages,
    made_profile,
    made_tenant,
    queued_message,
)

EVERYBODY = QueueScope(tenant_id=None)


def scope_of(profile: Profile, **more: Any) -> QueueScope:
    """The scope of a profile's tenant."""
    return QueueScope(tenant_id=profile.tenant_id, **more)


@pytest.fixture
async def profile(database: Database) -> Profile:
    """A profile with one message of each open status; the oldest is an hour old."""
    profile = await made_profile(database, await made_tenant(database))
    await queued_message(database, profile, created_at=NOW - HOUR)
    assert len(await leased_messages(database, profile, owner="wrk_1")) == 1
    await queued_message(database, profile)
    await queued_message(database, profile, send_at=NOW + 5 * MINUTE)
    return profile


async def test_messages_are_counted_by_status(database: Database, profile: Profile) -> None:
    """Of the tenant alone, of its profiles alone, or of all; a leased message is not due."""
    other = await made_profile(database, await made_tenant(database, "other"))
    await queued_message(database, other)
    scopes = [
        (scope_of(profile), 1),
        (scope_of(profile, profile_ids=[profile.id]), 1),
        (EVERYBODY, 2),
    ]
    async with database.reading() as connection:
        for scope, queued in scopes:
            depth = await queue.load_depth(connection, scope, NOW)
            assert depth.counts == {
                MessageStatus.SCHEDULED: 1,
                MessageStatus.QUEUED: queued,
                MessageStatus.SENDING: 1,
            }
            assert depth.due == queued
        depth = await queue.load_depth(connection, scope_of(profile, profile_ids=["prf_0"]), NOW)
        assert depth == ({}, 0, True)


async def test_a_count_ends_at_its_limit(
    database: Database, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long queue costs no more."""
    monkeypatch.setattr(queue, "MAX_PROFILE_MESSAGES", 2)
    async with database.reading() as connection:
        depth = await queue.load_depth(connection, scope_of(profile), NOW, limit=2)
        [row] = await queue.page_profiles(connection, scope_of(profile), now=NOW, limit=9)
    assert sum(depth.counts.values()) == row.messages == 2
    assert not depth.is_complete


async def test_a_profiles_depth_is_read_from_the_tenants_oldest_messages(
    database: Database,
) -> None:
    """So a profile with few messages costs no more than the limit, beside a long queue."""
    tenant = await made_tenant(database)
    busy = await made_profile(database, tenant)
    quiet = await made_profile(database, tenant, "quiet")
    for owner in (busy, busy, quiet):
        await queued_message(database, owner)
    scope = scope_of(quiet, profile_ids=[quiet.id])
    async with database.reading() as connection:
        first_two = await queue.load_depth(connection, scope, NOW, limit=2)
        all_three = await queue.load_depth(connection, scope, NOW, limit=4)
    assert first_two == ({}, 0, False)
    assert all_three == ({MessageStatus.QUEUED: 1}, 1, True)


@pytest.mark.parametrize("is_of_all", [False, True])
async def test_ages_and_workers(database: Database, profile: Profile, *, is_of_all: bool) -> None:
    """The oldest of all tenants, the next that becomes due, and who has sent a heartbeat."""
    other = await made_profile(database, await made_tenant(database, "other"))
    await queued_message(database, other, created_at=NOW - MINUTE, send_at=NOW + 9 * MINUTE)
    async with database.transaction() as connection:
        for name, seen_at in (("wrk_1", NOW), ("wrk_2", NOW - HOUR)):
            await workers.record_heartbeat(
                connection, worker_id=name, hostname="h", pid=1, started_at=NOW, now=seen_at
            )
        scope = EVERYBODY if is_of_all else scope_of(profile)
        moments = await queue.load_moments(connection, scope, now=NOW, alive_since=NOW - MINUTE)
    assert moments == queue.QueueMoments(
        oldest_at=NOW - HOUR, next_attempt_at=NOW + 5 * MINUTE, workers=1
    )


async def test_an_empty_queue_has_no_ages(database: Database) -> None:
    """Nor profiles, nor a throughput."""
    async with database.reading() as connection:
        moments = await queue.load_moments(connection, EVERYBODY, now=NOW, alive_since=NOW)
        assert moments == queue.QueueMoments(oldest_at=None, next_attempt_at=None, workers=0)
        throughput = await queue.load_throughput(connection, EVERYBODY, since=NOW)
        assert throughput == queue.Throughput(since=NOW, attempts={})
        assert await queue.page_profiles(connection, EVERYBODY, now=NOW, limit=9) == []


async def test_recent_attempts_are_counted_by_verdict(
    database: Database, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each profile; beyond the limit, since the earliest that was read."""
    message = await queued_message(database, profile)
    other = await made_profile(database, await made_tenant(database, "other"))
    rows = [an_attempt(message, number) for number in range(3)]
    rows[2] |= {"verdict": "delivered"}
    others = an_attempt(await queued_message(database, other), 0)
    async with database.transaction() as connection:
        await connection.execute(insert(tables.attempts), [*rows, others])
        mine = await queue.load_throughput(connection, scope_of(profile), since=NOW - HOUR)
        assert mine.since == NOW - HOUR
        assert mine.attempts == {profile.id: {Verdict.DEFER: 2, Verdict.DELIVERED: 1}}
        everybodys = await queue.load_throughput(connection, EVERYBODY, since=NOW - HOUR)
        assert everybodys.attempts == mine.attempts | {other.id: {Verdict.DEFER: 1}}
        monkeypatch.setattr(queue, "MAX_ATTEMPTS", 2)
        latest = await queue.load_throughput(connection, EVERYBODY, since=NOW - HOUR)
    assert latest.attempts == {profile.id: {Verdict.DELIVERED: 1}, other.id: {Verdict.DEFER: 1}}
    assert latest.since == NOW


async def test_profiles_with_a_fault_come_first(database: Database, profile: Profile) -> None:
    """Page by page; an idle profile and another tenant's are not listed."""
    tenant = await made_tenant(database, "other")
    failing = await failing_profile(database, tenant, "failing")
    paused = await made_profile(database, tenant, "paused")
    await made_profile(database, tenant, "idle")
    await queued_message(database, paused)
    async with database.transaction() as connection:
        await profiles.pause(connection, tenant_id=tenant.id, profile_id=paused.id, now=NOW)
    queue_rows, after = [], None
    async with database.reading() as connection:
        while rows := await queue.page_profiles(
            connection, EVERYBODY, now=NOW, limit=1, after=after
        ):
            queue_rows += rows
            after = rows[-1].place
        own = await queue.page_profiles(
            connection, QueueScope(tenant_id=tenant.id), now=NOW, limit=9
        )
    assert [row.id for row in queue_rows] == [failing.id, profile.id, paused.id]
    assert [row.id for row in own] == [failing.id, paused.id]
    states = [ProfileState.FAILING, ProfileState.ACTIVE, ProfileState.PAUSED]
    assert [row.state for row in queue_rows] == states
    assert queue_rows[0].health.reason == "504 5.5.2 need fully-qualified hostname"
    busy = queue_rows[1]
    assert (busy.name, busy.tenant, busy.messages, busy.due) == ("main", "acme", 3, 1)
    assert busy.due_since == NOW - MINUTE  # the head start of a normal message
    assert busy.next_attempt_at == NOW + 5 * MINUTE


async def test_each_destination_of_a_profile_is_looked_at(
    database: Database, profile: Profile
) -> None:
    """The first due time is that of all its queues."""
    async with database.transaction() as connection:
        await connection.execute(
            insert(tables.destination_buckets).values(profile_id=profile.id, number=7)
        )
        await connection.execute(update(tables.messages).values(destination=7))
        [row] = await queue.page_profiles(connection, scope_of(profile), now=NOW, limit=9)
    assert (row.messages, row.due, row.due_since) == (3, 1, NOW - MINUTE)
    assert row.next_attempt_at == NOW + 5 * MINUTE


async def test_mail_that_nobody_delivers_is_found(database: Database, profile: Profile) -> None:
    """Since when it has been due; not while a worker is alive, and not of a paused profile."""

    async def find() -> Any:
        async with database.reading() as connection:
            return await queue.find_undelivered(connection, now=NOW, alive_since=NOW - MINUTE)

    assert await find() == NOW - MINUTE
    async with database.transaction() as connection:
        await workers.record_heartbeat(
            connection, worker_id="wrk_1", hostname="h", pid=1, started_at=NOW, now=NOW
        )
    assert await find() is None
    async with database.transaction() as connection:
        await workers.deregister(connection, worker_id="wrk_1")
        await profiles.pause(
            connection, tenant_id=profile.tenant_id, profile_id=profile.id, now=NOW
        )
    assert await find() is None


async def test_messages_in_queues_of_destinations_count_too(database: Database) -> None:
    """A profile's messages are those of all of its queues."""
    gmail = Destination(number=1, match=("gmail.com",), max_connections=1)
    profile = await made_profile(database, await made_tenant(database), destinations=(gmail,))
    waiting = [
        await queued_message(database, profile, created_at=NOW - age * HOUR) for age in range(3)
    ]
    async with database.transaction() as connection:
        await destination_queues.move(connection, {waiting[2].id: gmail.number})
    async with database.reading() as connection:
        [row] = await queue.page_profiles(connection, scope_of(profile), now=NOW, limit=9)
    assert (row.messages, row.due) == (3, 3)
    assert row.due_since == NOW - 2 * HOUR - MINUTE
