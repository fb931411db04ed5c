"""API keys in the database: found by hash, revoked once, touched in one go."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from app.domain.api_keys import generate_secret, hash_secret
from app.domain.errors import NotFound
from app.domain.types import ApiKey, Scope, Tenant
from app.store import api_keys
from app.store.db.database import Database
from app.store.tables import core as tables
from tests.support.rows import HOUR, MINUTE, NOW, a_key, a_tenant, made_tenant


async def make_key(database: Database, tenant: Tenant) -> tuple[ApiKey, str]:
    """A key, written, and its secret."""
    key, secret = (
        a_key(tenant, scopes=frozenset({Scope.MESSAGES_SEND}), expires_at=NOW + HOUR),
        generate_secret(),
    )
    async with database.transaction() as connection:
        await api_keys.insert(connection, key=key, hash=hash_secret(secret))
    return key, secret


async def test_a_key_is_found_by_its_hash_alone(database: Database) -> None:
    """As it was written, to the microsecond; no other hash finds anything."""
    key, secret = await make_key(database, await made_tenant(database))
    async with database.reading() as connection:
        assert await api_keys.find_by_hash(connection, hash=hash_secret(secret)) == key
        assert await api_keys.find_by_hash(connection, hash=hash_secret(secret + "x")) is None


async def test_the_secret_is_nowhere_in_the_database(database: Database) -> None:
    """Invariant 9."""
    _, secret = await make_key(database, await made_tenant(database))
    async with database.reading() as connection:
        rows = (await connection.execute(select(tables.api_keys))).all()
    assert secret not in repr(rows)


async def test_keys_are_paged_by_id_within_their_tenant(database: Database) -> None:
    """Oldest first."""
    tenant, other = await made_tenant(database), await made_tenant(database, "other")
    keys = [(await make_key(database, tenant))[0] for _ in range(3)]
    await make_key(database, other)
    async with database.reading() as connection:
        first = await api_keys.page(connection, tenant_id=tenant.id, limit=2, after=None)
        rest = await api_keys.page(connection, tenant_id=tenant.id, limit=2, after=first[-1].id)
    assert [*first, *rest] == keys


async def test_a_key_is_revoked_once_by_its_tenant(database: Database) -> None:
    """A second time keeps the moment; under another tenant it is not there (invariant 10)."""
    tenant, other = await made_tenant(database), await made_tenant(database, "other")
    key, secret = await make_key(database, tenant)
    async with database.transaction() as connection:
        with pytest.raises(NotFound):
            await api_keys.revoke(connection, tenant_id=other.id, key_id=key.id, now=NOW)
        for moment in (NOW + MINUTE, NOW + HOUR):
            await api_keys.revoke(connection, tenant_id=tenant.id, key_id=key.id, now=moment)
        row = await api_keys.find_by_hash(connection, hash=hash_secret(secret))
    assert row is not None
    assert row.revoked_at == NOW + MINUTE
    assert not row.is_valid(NOW + HOUR)


async def test_uses_are_written_together_and_never_backwards(database: Database) -> None:
    """Of two processes that write, the later moment stays; an unknown key is no fault."""
    tenant = await made_tenant(database)
    one, two = [(await make_key(database, tenant))[0] for _ in range(2)]
    later, earlier = NOW + MINUTE + timedelta(microseconds=1), NOW + MINUTE
    async with database.transaction() as connection:
        await api_keys.record_use(connection, last_used_at={})
        await api_keys.record_use(
            connection, last_used_at={two.id: later, one.id: earlier, "key_gone": NOW}
        )
        await api_keys.record_use(connection, last_used_at={one.id: later, two.id: earlier})
        keys = await api_keys.page(connection, tenant_id=tenant.id, limit=9, after=None)
    assert [key.last_used_at for key in keys] == [later, later]


async def test_a_key_for_a_tenant_that_is_gone_is_refused(database: Database) -> None:
    """It was deleted just before."""
    with pytest.raises(NotFound):
        await make_key(database, a_tenant())
