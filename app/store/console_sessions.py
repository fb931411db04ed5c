"""Store the console's sessions, with their tokens as hashes."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, RowMapping, and_, delete, exists, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.console_sessions import USE_INTERVAL, ConsoleSession
from app.domain.types import Scope
from app.store.db.delete_old import delete_oldest
from app.store.db.keyset import newest_first
from app.store.db.rows import to_row
from app.store.tables.console_sessions import console_sessions
from app.store.tables.core import api_keys

# Of one key or person.
MAX_SESSIONS: Final = 50
_COLUMNS: Final = tuple(column for column in console_sessions.c if column.name != "token_hash")


async def create(
    connection: AsyncConnection, session: ConsoleSession, *, token_hash: bytes
) -> None:
    """Insert a session; of one key or person, delete the oldest above the maximum."""
    newest = (
        select(console_sessions.c.id)
        .where(_is_owned_like(session))
        .order_by(console_sessions.c.id.desc())
        .limit(MAX_SESSIONS - 1)
    )
    await connection.execute(
        delete(console_sessions).where(
            _is_owned_like(session), console_sessions.c.id.not_in(newest)
        )
    )
    scopes = None if session.scopes is None else sorted(session.scopes)
    values = to_row(session, console_sessions) | {"token_hash": token_hash, "scopes": scopes}
    await connection.execute(insert(console_sessions).values(values))


async def list_own(
    connection: AsyncConnection, session: ConsoleSession
) -> Sequence[ConsoleSession]:
    """Return the sessions of the key or person of a session, newest first."""
    query = select(*_COLUMNS).where(_is_owned_like(session)).order_by(console_sessions.c.id.desc())
    return [_session(row) for row in (await connection.execute(query)).mappings()]


async def find_by_token(connection: AsyncConnection, *, token_hash: bytes) -> ConsoleSession | None:
    """Return the session with this hash of its token, or None."""
    query = select(*_COLUMNS).where(console_sessions.c.token_hash == token_hash)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _session(row)


async def record_use(connection: AsyncConnection, *, session_id: str, now: datetime) -> None:
    """Write when a session was last used."""
    await connection.execute(
        update(console_sessions).where(console_sessions.c.id == session_id).values(last_used_at=now)
    )


async def page(
    connection: AsyncConnection,
    *,
    tenant_id: str | None,
    now: datetime,
    idle_time: timedelta,
    limit: int,
    after: str | None,
) -> Sequence[ConsoleSession]:
    """Return a page of a tenant's valid sessions, newest first; with None, those of admins."""
    query = newest_first(
        select(*_COLUMNS).where(
            _is_of(tenant_id),
            console_sessions.c.expires_at > now,
            console_sessions.c.last_used_at > now - idle_time - USE_INTERVAL,
            _has_valid_owner(now),
        ),
        console_sessions.c.id,
        limit=limit,
        after=after,
    )
    return [_session(row) for row in (await connection.execute(query)).mappings()]


async def delete_old(connection: AsyncConnection, *, now: datetime, limit: int) -> int:
    """Delete up to `limit` expired sessions; return how many."""
    expires_at = console_sessions.c.expires_at
    return await delete_oldest(
        connection, console_sessions, expires_at <= now, order=expires_at, limit=limit
    )


async def remove(connection: AsyncConnection, *, tenant_id: str | None, session_id: str) -> bool:
    """Delete a session of a tenant, or of an admin; return whether it existed."""
    result = await connection.execute(
        delete(console_sessions).where(_is_of(tenant_id), console_sessions.c.id == session_id)
    )
    return result.rowcount > 0


def _is_owned_like(session: ConsoleSession) -> ColumnElement[bool]:
    """Whether a session belongs to the same key or person, of the same tenant."""
    owner = (
        and_(
            console_sessions.c.issuer == session.issuer,
            console_sessions.c.subject == session.subject,
        )
        if session.key_hash is None
        else console_sessions.c.key_hash == session.key_hash
    )
    return and_(_is_of(session.tenant_id), owner)


def _has_valid_owner(now: datetime) -> ColumnElement[bool]:
    """Whether a session's key is valid; people have none, and admin keys are in no table."""
    valid_key = exists().where(
        api_keys.c.hash == console_sessions.c.key_hash,
        api_keys.c.revoked_at.is_(None),
        api_keys.c.expires_at.is_(None) | (api_keys.c.expires_at > now),
    )
    return or_(
        console_sessions.c.key_hash.is_(None), console_sessions.c.tenant_id.is_(None), valid_key
    )


def _is_of(tenant_id: str | None) -> ColumnElement[bool]:
    # Not `IS NOT DISTINCT FROM`, for which PostgreSQL uses no index.
    column = console_sessions.c.tenant_id
    return column.is_(None) if tenant_id is None else column == tenant_id


def _session(row: RowMapping) -> ConsoleSession:
    scopes = None if row["scopes"] is None else frozenset(map(Scope, row["scopes"]))
    return ConsoleSession(**{**row, "scopes": scopes})
