"""What may hold up messages, read for many profiles at once."""

from datetime import datetime, timedelta

import pytest

from app.domain.delivery.token_bucket import Bucket
from app.domain.delivery.waiting import LaneFacts
from app.domain.types import LaneHealth, Profile, RateLimit
from app.store.db.database import Database
from app.store.delivery import shared_limits, workers
from app.store.delivery.waiting import load_lane_facts
from app.store.profiles import queries as profiles
from tests.support.database.statements import record_statements
from tests.support.rows import HOUR, MINUTE, NOW, failing_profile, made_profile, made_tenant

SECOND = timedelta(seconds=1)


async def facts_of(
    database: Database, *of: Profile, tenant_id: str | None = None
) -> dict[str, LaneFacts]:
    """The facts about these profiles, as of `NOW`."""
    async with database.reading() as connection:
        return await load_lane_facts(
            connection,
            tenant_id=tenant_id or of[0].tenant_id,
            profile_ids={profile.id for profile in of},
            now=NOW,
            alive_since=NOW - MINUTE,
        )


async def heartbeat(database: Database, at: datetime) -> None:
    """A worker, last seen at this time."""
    async with database.transaction() as connection:
        await workers.record_heartbeat(
            connection, worker_id="wrk_1", hostname="host-1", pid=1, started_at=at, now=at
        )


async def test_a_sound_profile_holds_up_nothing(database: Database) -> None:
    """While a worker is alive."""
    profile = await made_profile(database, await made_tenant(database))
    await heartbeat(database, NOW - 59 * SECOND)
    facts = await facts_of(database, profile)
    assert facts == {profile.id: LaneFacts(health=LaneHealth(), has_worker=True)}


async def test_a_worker_without_a_heartbeat_is_gone(database: Database) -> None:
    """And so is one that never was."""
    profile = await made_profile(database, await made_tenant(database))
    assert not (await facts_of(database, profile))[profile.id].has_worker
    await heartbeat(database, NOW - 61 * SECOND)
    assert not (await facts_of(database, profile))[profile.id].has_worker


async def test_a_failing_profile_says_what_its_server_said(database: Database) -> None:
    """With the next probe, and the moment from which its fallback sends."""
    tenant = await made_tenant(database)
    other = await made_profile(database, tenant, "other")
    profile = await failing_profile(database, tenant)
    async with database.transaction() as connection:
        await profiles.update(
            connection,
            tenant_id=tenant.id,
            profile_id=profile.id,
            changes={"fallback_profile_id": other.id, "fallback_after_seconds": 300},
            now=NOW,
        )
    facts = (await facts_of(database, profile, other))[profile.id]
    assert (facts.health.code, facts.health.reason) == (
        "ehlo_refused",
        "504 5.5.2 need fully-qualified hostname",
    )
    assert facts.fallback_at == NOW + 5 * MINUTE


async def test_rate_limits_say_when_they_next_allow_a_message(database: Database) -> None:
    """The profile's and the tenant's apart (invariant 7)."""
    limit = RateLimit(messages=60, per_seconds=60)
    tenant = await made_tenant(database, rate_limit=limit)
    profile = await made_profile(database, tenant, rate_limit=limit)
    async with database.transaction() as connection:
        await shared_limits.lock_tenant_bucket(
            connection, tenant_id=tenant.id, limit=limit, now=NOW
        )
        await shared_limits.spend_tenant(
            connection, tenant_id=tenant.id, bucket=Bucket(0.0, NOW), permits=2
        )
        await shared_limits.spend_profile(
            connection, profile_id=profile.id, bucket=Bucket(0.0, NOW), permits=0
        )
    facts = (await facts_of(database, profile))[profile.id]
    assert facts.profile_permit_at == NOW + SECOND
    assert facts.tenant_permit_at == NOW + 3 * SECOND


async def test_a_paused_profile_says_since_when(database: Database) -> None:
    """As it was set."""
    profile = await made_profile(database, await made_tenant(database))
    async with database.transaction() as connection:
        await profiles.pause(
            connection, tenant_id=profile.tenant_id, profile_id=profile.id, now=NOW - HOUR
        )
    assert (await facts_of(database, profile))[profile.id].paused_at == NOW - HOUR


async def test_another_tenants_profile_is_not_read(database: Database) -> None:
    """Even by its id (invariant 10)."""
    profile = await made_profile(database, await made_tenant(database))
    other = await made_tenant(database, "other")
    assert await facts_of(database, profile, tenant_id=other.id) == {}


@pytest.mark.parametrize(("count", "statements"), [(0, 0), (1, 1), (20, 1)])
async def test_many_profiles_cost_one_statement(
    database: Database, count: int, statements: int
) -> None:
    """A page of messages without a waiting one costs none."""
    tenant = await made_tenant(database)
    many = [await made_profile(database, tenant, f"p{number}") for number in range(count)]
    with record_statements() as executed:
        facts = await facts_of(database, *many, tenant_id=tenant.id)
    assert facts.keys() == {profile.id for profile in many}
    assert len([sql for sql, _ in executed if "lanes" in sql]) == statements
