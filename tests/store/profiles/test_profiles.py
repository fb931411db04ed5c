"""Profiles in the database: written and read whole, one default, changes that delivery sees."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from app.domain.errors import Conflict, NotFound
from app.domain.types import (
    AuthMechanism,
    LaneHealth,
    NamedAddress,
    Profile,
    RateLimit,
    RetryPolicy,
    Timeouts,
    TlsMode,
    Transport,
)
from app.store.db.database import Database
from app.store.profiles import queries as profiles
from app.store.profiles.rows import SEALED_COLUMNS
from tests.support.rows import (
    HOUR,
    MINUTE,
    NOW,
    a_profile,
    a_tenant,
    failing_profile,
    health_of,
    made_profile,
    made_tenant,
)


async def read(database: Database, profile: Profile) -> Profile:
    """The profile as it stands."""
    async with database.reading() as connection:
        return await profiles.get(connection, tenant_id=profile.tenant_id, profile=profile.id)


async def test_every_field_is_written_and_read_back(database: Database) -> None:
    """Whatever a profile can say; of its secrets only that they are there."""
    tenant = await made_tenant(database)
    profile = a_profile(
        tenant,
        is_default=True,
        transport=Transport.SANDBOX,
        port=2525,
        tls=TlsMode.OPPORTUNISTIC,
        tls_ca="ca",
        client_certificate="certificate",
        has_client_key=True,
        ehlo_name="mail.example.com",
        source_address="192.0.2.1",
        auth_mechanism=AuthMechanism.CRAM_MD5,
        username="billing",
        has_password=True,
        allow_plaintext_auth=True,
        default_from=NamedAddress("a@example.com", "Ärzte"),
        allowed_from=("*@example.com", "b@example.net"),
        max_connections=3,
        max_messages_per_connection=7,
        rate_limit=RateLimit(5, 60),
        timeouts=Timeouts(connect=1.5, command=2.5, data=3.5),
        retry=RetryPolicy(first_seconds=1.0, factor=3.0, cap_seconds=9.0, max_age_seconds=77),
    )
    async with database.transaction() as connection:
        await profiles.insert(
            connection,
            profile=profile,
            sealed={"sealed_password": b"p", "sealed_client_key": b"k"},
        )
        for name in (profile.id, profile.name):
            stored = await profiles.get(connection, tenant_id=tenant.id, profile=name)
            assert stored == profile


async def test_the_least_profile_is_read_back(database: Database) -> None:
    """What was left out is None or its default."""
    tenant = await made_tenant(database)
    profile = a_profile(tenant, is_default=True)
    async with database.transaction() as connection:
        await profiles.insert(connection, profile=profile, sealed={})
        assert await profiles.find(connection, tenant_id=tenant.id, profile="main") == profile
        assert await profiles.find(connection, tenant_id=tenant.id, profile="none") is None
        with pytest.raises(NotFound, match="'none'"):
            await profiles.get(connection, tenant_id=tenant.id, profile="none")


async def test_of_many_first_profiles_one_is_the_default(database: Database) -> None:
    """However many are made at the same time; all of them are made."""
    tenant = await made_tenant(database)
    created = await asyncio.gather(*(made_profile(database, tenant, f"p{n}") for n in range(6)))
    stored = [await read(database, profile) for profile in created]
    assert sorted(profile.is_default for profile in stored) == [False] * 5 + [True]


async def test_a_new_default_takes_it_from_the_former(database: Database) -> None:
    """At creation and by a change; without one there is none."""
    tenant = await made_tenant(database)
    names = []
    first = await made_profile(database, tenant, "first")
    second = await made_profile(database, tenant, "second", is_default=True)
    for profile, is_default in ((second, True), (first, True), (first, False)):
        async with database.transaction() as connection:
            await profiles.update(
                connection,
                tenant_id=tenant.id,
                profile_id=profile.id,
                changes={"is_default": is_default},
                now=NOW,
            )
            default = await profiles.get_default(connection, tenant_id=tenant.id)
            names.append(default and default.name)
    assert names == ["second", "first", None]


async def test_a_name_is_taken_once_however_many_ask(database: Database) -> None:
    """One has it; another tenant may have the same."""
    tenant = await made_tenant(database)

    async def ask() -> bool:
        try:
            await made_profile(database, tenant)
        except Conflict:
            return False
        return True

    assert sorted(await asyncio.gather(*(ask() for _ in range(5)))) == [False] * 4 + [True]
    await made_profile(database, await made_tenant(database, "other"))


async def test_a_refused_default_leaves_the_former(database: Database) -> None:
    """A conflict of names undoes what came before it, and nothing else of the transaction."""
    tenant = await made_tenant(database)
    first = await made_profile(database, tenant)
    async with database.transaction() as connection:
        with pytest.raises(Conflict, match="'main'"):
            await profiles.insert(
                connection,
                profile=a_profile(tenant, is_default=True),
                sealed={},
            )
    assert (await read(database, first)).is_default


async def test_another_fault_than_a_taken_name_is_not_called_one(database: Database) -> None:
    """What breaks a CHECK is a fault of ours."""
    tenant = await made_tenant(database)
    with pytest.raises(IntegrityError, match="smtp_has_host"):
        await made_profile(database, tenant, host=None)


async def test_a_profile_of_a_tenant_that_is_gone_is_refused(database: Database) -> None:
    """It was deleted just before."""
    with pytest.raises(NotFound):
        await made_profile(database, a_tenant())


async def test_a_change_counts_up_and_probes_at_once(database: Database) -> None:
    """Old connections are stale, and the fault may be mended (invariant 8)."""
    tenant = await made_tenant(database)
    profile = await failing_profile(database, tenant)
    async with database.transaction() as connection:
        await profiles.update(
            connection,
            tenant_id=tenant.id,
            profile_id=profile.id,
            changes={"ehlo_name": "mail.example.com", "sealed_password": b"p"},
            now=NOW + MINUTE,
        )
    changed = replace(
        profile,
        ehlo_name="mail.example.com",
        has_password=True,
        revision=2,
        updated_at=NOW + MINUTE,
    )
    assert await read(database, profile) == changed
    health = await health_of(database, profile)
    assert (health.next_probe_at, health.faults) == (NOW + MINUTE, 1)


async def test_a_change_of_a_sound_profile_leaves_its_lane(database: Database) -> None:
    """It has no probe."""
    profile = await made_profile(database, await made_tenant(database))
    async with database.transaction() as connection:
        await profiles.update(
            connection,
            tenant_id=profile.tenant_id,
            profile_id=profile.id,
            changes={"port": 25},
            now=NOW,
        )
    assert await health_of(database, profile) == LaneHealth()


async def test_a_taken_name_is_no_change(database: Database) -> None:
    """The conflict comes from the database."""
    tenant = await made_tenant(database)
    await made_profile(database, tenant, "taken")
    profile = await made_profile(database, tenant)
    async with database.transaction() as connection:
        with pytest.raises(Conflict, match="'taken'"):
            await profiles.update(
                connection,
                tenant_id=tenant.id,
                profile_id=profile.id,
                changes={"name": "taken"},
                now=NOW,
            )
    assert await read(database, profile) == profile


async def test_pausing_twice_keeps_the_first_moment(database: Database) -> None:
    """And changes nothing but that."""
    profile = await made_profile(database, await made_tenant(database))
    for moment in (NOW + MINUTE, NOW + HOUR):
        async with database.transaction() as connection:
            await profiles.pause(
                connection, tenant_id=profile.tenant_id, profile_id=profile.id, now=moment
            )
    after = await read(database, profile)
    assert after == replace(profile, paused_at=NOW + MINUTE, revision=after.revision)


async def test_resuming_probes_at_once(database: Database) -> None:
    """The pause is over, the failing server is tried; and it may be repeated."""
    profile = await failing_profile(database, await made_tenant(database))
    key = {"tenant_id": profile.tenant_id, "profile_id": profile.id}
    async with database.transaction() as connection:
        await profiles.pause(connection, **key, now=NOW)
        for _ in range(2):
            await profiles.resume(connection, **key, now=NOW + MINUTE)
    assert (await read(database, profile)).paused_at is None
    assert (await health_of(database, profile)).next_probe_at == NOW + MINUTE


async def test_profiles_are_paged_by_id_within_their_tenant(database: Database) -> None:
    """Oldest first."""
    tenant, other = await made_tenant(database), await made_tenant(database, "other")
    created = [await made_profile(database, tenant, name) for name in "abc"]
    await made_profile(database, other)
    async with database.reading() as connection:
        first = await profiles.page(connection, tenant_id=tenant.id, limit=2, after=None)
        rest = await profiles.page(connection, tenant_id=tenant.id, limit=2, after=first[-1].id)
        assert await profiles.load_health(connection, tenant_id=tenant.id, profile_ids=[]) == {}
    assert [*first, *rest] == created


async def test_delivery_reads_what_it_needs_in_one_go(database: Database) -> None:
    """The profile, its tenant's name, its credentials sealed; and shows no secret of them."""
    tenant = await made_tenant(database, ehlo_name="mail.example.com")
    profile = await made_profile(
        database,
        tenant,
        sealed={"sealed_password": b"canary-p", "sealed_client_key": b"canary-k"},
    )
    async with database.reading() as connection:
        delivery_profile = await profiles.load_for_delivery(
            connection, tenant_id=tenant.id, profile_id=profile.id
        )
    assert delivery_profile == profiles.DeliveryProfile(
        profile=profile,
        tenant_ehlo_name="mail.example.com",
        sealed=dict.fromkeys(SEALED_COLUMNS)
        | {
            "sealed_password": b"canary-p",
            "sealed_client_key": b"canary-k",
        },
    )
    assert "canary" not in repr(delivery_profile)


async def test_sealed_columns_are_read_by_pages_and_replaced(database: Database) -> None:
    """Of all tenants, where there are any; a new sealing is no change of the profile."""
    tenant, other = await made_tenant(database), await made_tenant(database, "other")
    nothing = dict.fromkeys(SEALED_COLUMNS)
    one = await made_profile(database, tenant, sealed={"sealed_password": b"old"})
    await made_profile(database, tenant, "no-secret")
    two = await made_profile(database, other, sealed={"sealed_client_key": b"old"})
    async with database.transaction() as connection:
        [first] = await profiles.load_sealed_page(connection, limit=1, after=None)
        assert first == (one, nothing | {"sealed_password": b"old"})
        [second] = await profiles.load_sealed_page(connection, limit=9, after=one.id)
        assert second == (two, nothing | {"sealed_client_key": b"old"})
        await profiles.replace_sealed(
            connection,
            tenant_id=tenant.id,
            profile_id=one.id,
            sealed={"sealed_password": b"new"},
        )
        [first] = await profiles.load_sealed_page(connection, limit=1, after=None)
    assert first.sealed["sealed_password"] == b"new"
    assert await read(database, one) == one
