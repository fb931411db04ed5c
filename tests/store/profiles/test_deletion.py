"""Deleting a profile: never under unfinished messages, and never a lie about what was sent."""

import pytest
from sqlalchemy import insert, select

from app.domain.errors import Conflict, NotFound
from app.domain.types import Profile
from app.store.db.database import Database
from app.store.messages import queries as messages
from app.store.profiles import deletion
from app.store.profiles import queries as profiles
from app.store.profiles.rows import SEALED_COLUMNS
from app.store.tables import core as tables
from tests.support.rows import (
    HOUR,
    MINUTE,
    NOW,
    leased_messages,
    made_profile,
    made_tenant,
    queued_message,
)


async def delete(database: Database, profile: Profile, *, cancel_pending: bool = False) -> None:
    """Delete it in a transaction of its own."""
    async with database.transaction() as connection:
        await deletion.delete(
            connection,
            tenant_id=profile.tenant_id,
            profile_id=profile.id,
            now=NOW,
            cancel_pending=cancel_pending,
        )


async def statuses(database: Database, profile: Profile) -> list[str]:
    """The statuses of the profile's messages, newest first."""
    async with database.reading() as connection:
        page = await messages.page(connection, tenant_id=profile.tenant_id, limit=2000, now=NOW)
    return [view.status.value for view in page]


async def test_a_deleted_profile_is_nowhere_but_on_what_it_sent(database: Database) -> None:
    """Its secrets are erased, its name is free, and it is nobody's default."""
    tenant = await made_tenant(database)
    profile = await made_profile(
        database, tenant, sealed=dict.fromkeys(SEALED_COLUMNS, b"s"), username="billing"
    )
    async with database.transaction() as connection:
        token = {"profile_revision": 1, "sealed_access_token": b"t", "expires_at": NOW}
        row = {"profile_id": profile.id, **token}
        await connection.execute(insert(tables.oauth_tokens).values(row))
    other = await made_profile(database, tenant, "other")
    await delete(database, profile)
    async with database.transaction() as connection:
        assert await profiles.find(connection, tenant_id=tenant.id, profile="main") is None
        assert await profiles.get_default(connection, tenant_id=tenant.id) is None
        assert await profiles.page(connection, tenant_id=tenant.id, limit=9, after=None) == [other]
        key = {"tenant_id": tenant.id, "profile_id": profile.id}
        assert await profiles.load_for_delivery(connection, **key) is None
        assert await profiles.load_sealed_page(connection, limit=9, after=None) == []
        query = select(tables.profiles).where(tables.profiles.c.id == profile.id)
        row = (await connection.execute(query)).mappings().one()
        for change in (profiles.pause, profiles.resume):
            with pytest.raises(NotFound):
                await change(connection, **key, now=NOW)
        assert (await connection.execute(select(tables.oauth_tokens))).all() == []
    assert (row["deleted_at"], row["is_default"], row["revision"]) == (NOW, False, 2)
    assert {row[name] for name in SEALED_COLUMNS} == {None}
    await made_profile(database, tenant)


async def test_a_profile_with_unfinished_messages_is_not_deleted(database: Database) -> None:
    """Whether they wait or are being sent."""
    profile = await made_profile(database, await made_tenant(database))
    await queued_message(database, profile)
    with pytest.raises(Conflict, match="cancel_pending=true"):
        await delete(database, profile)
    await leased_messages(database, profile, owner="wrk_1")
    with pytest.raises(Conflict):
        await delete(database, profile)
    assert await statuses(database, profile) == ["sending"]


async def test_all_that_waits_is_cancelled(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch by batch, in whichever order it is due; another profile's messages stay."""
    monkeypatch.setattr(deletion, "CANCEL_BATCH", 3)
    tenant = await made_tenant(database)
    profile = await made_profile(database, tenant)
    other = await made_profile(database, await made_tenant(database, "other"))
    for number in range(10):
        await queued_message(database, profile, created_at=NOW - MINUTE * (number % 4))
    await queued_message(database, other)
    await delete(database, profile, cancel_pending=True)
    assert await statuses(database, profile) == ["cancelled"] * 10
    assert await statuses(database, other) == ["queued"]


async def test_what_is_being_sent_ends_truthfully(database: Database) -> None:
    """A lease that runs is left; one that has ended belongs to nobody."""
    profile = await made_profile(database, await made_tenant(database))
    sending = await queued_message(database, profile)
    await leased_messages(database, profile, owner="wrk_live", now=NOW)
    left = await queued_message(database, profile, created_at=NOW - HOUR)
    await leased_messages(database, profile, owner="wrk_dead", now=NOW - HOUR)
    await delete(database, profile, cancel_pending=True)
    assert left.id > sending.id
    assert await statuses(database, profile) == ["cancelled", "sending"]


async def test_a_profile_is_deleted_once_and_by_its_tenant(database: Database) -> None:
    """Anything else is not there (invariant 10)."""
    tenant, other = await made_tenant(database), await made_tenant(database, "other")
    profile = await made_profile(database, tenant)
    async with database.transaction() as connection:
        with pytest.raises(NotFound):
            await deletion.delete(
                connection,
                tenant_id=other.id,
                profile_id=profile.id,
                now=NOW,
                cancel_pending=True,
            )
    await delete(database, profile)
    with pytest.raises(NotFound):
        await delete(database, profile)
