"""Store API keys as hashes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import RowMapping, bindparam, case, func, literal, or_, select, update
from sqlalchemy import insert as insert_into
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.domain.types import ApiKey, Scope
from app.store.db.column_types import Instant
from app.store.db.keyset import oldest_first
from app.store.db.rows import get_row, to_row
from app.store.tables.core import api_keys
from app.store.tenants import queries as tenants

_COLUMNS: Final = tuple(column for column in api_keys.c if column.name != "hash")


async def insert(connection: AsyncConnection, *, key: ApiKey, hash: bytes) -> None:  # noqa: A002 - the column's name
    """Insert a key with the hash of its secret; raise NotFound without its tenant."""
    await tenants.lock(connection, tenant_id=key.tenant_id)
    values = to_row(key, api_keys) | {"hash": hash, "scopes": sorted(key.scopes)}
    await connection.execute(insert_into(api_keys).values(values))


async def find_by_hash(connection: AsyncConnection, *, hash: bytes) -> ApiKey | None:  # noqa: A002 - the column's name
    """Return the key with this hash, of any tenant."""
    query = select(*_COLUMNS).where(api_keys.c.hash == hash)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _key(row)


async def page(
    connection: AsyncConnection, *, tenant_id: str, limit: int, after: str | None
) -> list[ApiKey]:
    """Return a page of the tenant's keys, oldest first, including revoked ones."""
    query = select(*_COLUMNS).where(api_keys.c.tenant_id == tenant_id)
    query = oldest_first(query, api_keys.c.id, limit=limit, after=after)
    return [_key(row) for row in (await connection.execute(query)).mappings()]


async def get(connection: AsyncConnection, *, tenant_id: str, key_id: str) -> ApiKey:
    """Return the tenant's key with this id; raise NotFound."""
    query = select(*_COLUMNS).where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == key_id)
    return _key(await get_row(connection, query, "key", key_id))


async def revoke(
    connection: AsyncConnection, *, tenant_id: str, key_id: str, now: datetime
) -> None:
    """Revoke a key; a second call keeps the first time. Raises NotFound."""
    result = await connection.execute(
        update(api_keys)
        .where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == key_id)
        .values(revoked_at=func.coalesce(api_keys.c.revoked_at, literal(now, Instant())))
    )
    if result.rowcount == 0:
        raise NotFound("key", key_id)


async def set_expiry(
    connection: AsyncConnection, *, tenant_id: str, key_id: str, moment: datetime
) -> None:
    """Let a key expire at `moment`, unless it expires earlier. Raises NotFound."""
    is_later = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > moment)
    result = await connection.execute(
        update(api_keys)
        .where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == key_id)
        .values(
            expires_at=case((is_later, literal(moment, Instant())), else_=api_keys.c.expires_at)
        )
    )
    if result.rowcount == 0:
        raise NotFound("key", key_id)


_TOUCH: Final = (
    update(api_keys)
    .where(
        api_keys.c.id == bindparam("b_id"),
        or_(
            api_keys.c.last_used_at.is_(None),
            api_keys.c.last_used_at < bindparam("b_used", type_=Instant()),
        ),
    )
    .values(last_used_at=bindparam("b_used", type_=Instant()))
)


async def record_use(connection: AsyncConnection, *, last_used_at: Mapping[str, datetime]) -> None:
    """Record the last use of keys, by id; never move a time back.

    Keys are written in the order of their ids, so that two processes cannot deadlock.
    """
    if last_used_at:
        rows = [{"b_id": key_id, "b_used": last_used_at[key_id]} for key_id in sorted(last_used_at)]
        await connection.execute(_TOUCH, rows)


def _key(row: RowMapping) -> ApiKey:
    restrictions = {name: tuple(row[name]) for name in ("profiles", "allowed_from", "networks")}
    scopes = frozenset(Scope(scope) for scope in row["scopes"])
    return ApiKey(**{**row, "scopes": scopes, **restrictions})
