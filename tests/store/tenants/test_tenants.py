"""Tenants in the database: unique, changed with all that hangs on them, gone with everything."""

import asyncio

import pytest
from sqlalchemy import func, select

from app.domain.delivery.status import RecipientEvent
from app.domain.errors import Conflict, NotFound
from app.store import api_keys
from app.store.db.database import Database
from app.store.outbox import results as outcomes
from app.store.profiles import deletion
from app.store.profiles import queries as profiles
from app.store.tables import core as tables
from app.store.tenants import queries as tenants
from tests.support.rows import (
    HOUR,
    MINUTE,
    NOW,
    a_key,
    a_tenant,
    failing_profile,
    health_of,
    leased_messages,
    made_profile,
    made_tenant,
    queued_message,
)


async def test_a_tenant_is_read_by_id_and_slug(database: Database) -> None:
    """As it was written."""
    tenant = await made_tenant(database, ehlo_name="mail.example.com")
    async with database.reading() as connection:
        assert await tenants.get(connection, tenant=tenant.id) == tenant
        assert await tenants.get(connection, tenant="acme") == tenant
        with pytest.raises(NotFound, match="none"):
            await tenants.get(connection, tenant="none")


async def test_a_slug_is_taken_once_however_many_ask(database: Database) -> None:
    """Of ten at the same time one has it; the others are told, and their transactions live on."""

    async def ask() -> bool:
        async with database.transaction() as connection:
            try:
                await tenants.insert(connection, tenant=a_tenant())
            except Conflict:
                assert (await connection.execute(select(1))).scalar_one() == 1
                return False
            return True

    assert sorted(await asyncio.gather(*(ask() for _ in range(10)))) == [False] * 9 + [True]


async def test_tenants_are_paged_by_id(database: Database) -> None:
    """Oldest first."""
    tenants_by_id = [await made_tenant(database, slug) for slug in "abc"]
    async with database.reading() as connection:
        assert await tenants.page(connection, limit=2, after=None) == tenants_by_id[:2]
        assert (
            await tenants.page(connection, limit=2, after=tenants_by_id[1].id) == tenants_by_id[2:]
        )


async def test_a_change_leaves_the_rest(database: Database) -> None:
    """And an empty one changes nothing at all."""
    tenant = await made_tenant(database, ehlo_name="mail.example.com")
    async with database.transaction() as connection:
        same = await tenants.update(connection, tenant_id=tenant.id, changes={}, now=NOW + HOUR)
        assert same == tenant
        after = await tenants.update(
            connection, tenant_id=tenant.id, changes={"slug": "new"}, now=NOW + HOUR
        )
    assert (after.slug, after.name, after.ehlo_name) == ("new", "Acme", "mail.example.com")
    assert after.updated_at == NOW + HOUR
    async with database.transaction() as connection:
        with pytest.raises(NotFound):
            await tenants.update(connection, tenant_id="ten_0", changes={"name": "x"}, now=NOW)


async def test_a_taken_slug_is_no_change(database: Database) -> None:
    """The conflict comes from the database."""
    await made_tenant(database, "taken")
    tenant = await made_tenant(database)
    async with database.transaction() as connection:
        with pytest.raises(Conflict, match="'taken'"):
            await tenants.update(
                connection, tenant_id=tenant.id, changes={"slug": "taken"}, now=NOW
            )


async def test_another_ehlo_name_makes_every_profile_stale(database: Database) -> None:
    """Connections are retired, a failing server is tried at once; another tenant's are left."""
    tenant, other = await made_tenant(database), await made_tenant(database, "other")
    profile = await failing_profile(database, tenant)
    others = await failing_profile(database, other)
    for changes, revision, probe in (
        ({"name": "New"}, 1, NOW + HOUR),
        ({"ehlo_name": None}, 1, NOW + HOUR),
        ({"ehlo_name": "mail.example.com"}, 2, NOW + MINUTE),
    ):
        async with database.transaction() as connection:
            await tenants.update(connection, tenant_id=tenant.id, changes=changes, now=NOW + MINUTE)
            stored = await profiles.get(connection, tenant_id=tenant.id, profile=profile.id)
        assert stored.revision == revision
        assert (await health_of(database, profile)).next_probe_at == probe
    assert (await health_of(database, others)).next_probe_at == NOW + HOUR


async def test_a_tenant_with_live_profiles_is_not_deleted(database: Database) -> None:
    """The conflict names it."""
    tenant = await made_tenant(database)
    await made_profile(database, tenant)
    async with database.transaction() as connection:
        with pytest.raises(Conflict, match="'acme'"):
            await tenants.delete(connection, tenant_id=tenant.id)


async def test_a_deleted_tenant_leaves_nothing(database: Database) -> None:
    """Not a row in any table, and no row of another tenant is missing."""
    counts = []
    for slug in ("stays", "goes"):
        tenant = await made_tenant(database, slug)
        profile = await made_profile(database, tenant)
        await queued_message(database, profile, tags=("receipt",))
        async with database.transaction() as connection:
            await api_keys.insert(connection, key=a_key(tenant), hash=tenant.id.encode()[:32])
            await deletion.delete(
                connection,
                tenant_id=tenant.id,
                profile_id=profile.id,
                now=NOW,
                cancel_pending=True,
            )
        counts.append(await _counts(database))
    async with database.transaction() as connection:
        await tenants.delete(connection, tenant_id=tenant.id)
    assert await _counts(database) == counts[0]
    async with database.transaction() as connection:
        with pytest.raises(NotFound):
            await tenants.delete(connection, tenant_id=tenant.id)


async def _counts(database: Database) -> dict[str, int]:
    async with database.reading() as connection:
        return {
            table.name: (
                await connection.execute(select(func.count()).select_from(table))
            ).scalar_one()
            for table in tables.metadata.sorted_tables
        }


async def test_what_a_deleted_profile_is_still_sending_keeps_its_tenant(database: Database) -> None:
    """Until it is settled."""
    tenant = await made_tenant(database)
    profile = await made_profile(database, tenant)
    message = await queued_message(database, profile)

    await leased_messages(database, profile, owner="wrk_1")
    async with database.transaction() as connection:
        await deletion.delete(
            connection, tenant_id=tenant.id, profile_id=profile.id, now=NOW, cancel_pending=True
        )
        with pytest.raises(Conflict):
            await tenants.delete(connection, tenant_id=tenant.id)
        await outcomes.finish_open(
            connection, message_ids=[message.id], event=RecipientEvent.CANCEL, now=NOW
        )
        await tenants.delete(connection, tenant_id=tenant.id)
