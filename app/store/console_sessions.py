"""Store the console's sessions, with their tokens as hashes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.console_sessions import ConsoleSession
from app.domain.types import Scope
from app.store.db.keyset import newest_first
from app.store.db.rows import to_row
from app.store.tables.console_sessions import console_sessions

# Of one key or person.
MAX_SESSIONS: Final = 50
_COLUMNS: Final = tuple(column for column in console_sessions.c if column.name != "token_hash")


async def create(
    connection: AsyncConnection, session: ConsoleSession, *, token_hash: bytes
) -> None:
    """Insert a session, and delete those that have expired.

    Of one key or person, delete the oldest above the maximum.
    """
    newest = (
        select(console_sessions.c.id)
        .where(_is_owned_like(session))
        .order_by(console_sessions.c.id.desc())
        .limit(MAX_SESSIONS - 1)
    )
    await connection.execute(
        delete(console_sessions).where(
            or_(
                console_sessions.c.expires_at <= session.created_at,
                and_(_is_owned_like(session), console_sessions.c.id.not_in(newest)),
            )
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
    return [_session(row) for row in await connection.execute(query)]


async def find_by_token(connection: AsyncConnection, *, token_hash: bytes) -> ConsoleSession | None:
    """Return the session with this hash of its token, or None."""
    query = select(*_COLUMNS).where(console_sessions.c.token_hash == token_hash)
    row = (await connection.execute(query)).one_or_none()
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
    limit: int,
    after: str | None,
) -> Sequence[ConsoleSession]:
    """Return a page of a tenant's sessions, newest first; with None, those of admins."""
    query = newest_first(
        select(*_COLUMNS).where(_is_of(tenant_id), console_sessions.c.expires_at > now),
        console_sessions.c.id,
        limit=limit,
        after=after,
    )
    return [_session(row) for row in await connection.execute(query)]


async def remove(connection: AsyncConnection, *, tenant_id: str | None, session_id: str) -> bool:
    """Delete a session of a tenant, or of an admin; return whether it existed."""
    result = await connection.execute(
        delete(console_sessions).where(_is_of(tenant_id), console_sessions.c.id == session_id)
    )
    return result.rowcount > 0


def _is_owned_like(session: ConsoleSession) -> ColumnElement[bool]:
    """Whether a session belongs to the same key or person, of the same tenant."""
    owner = (
        console_sessions.c.subject == session.subject
        if session.key_hash is None
        else console_sessions.c.key_hash == session.key_hash
    )
    return and_(_is_of(session.tenant_id), owner)


def _is_of(tenant_id: str | None) -> ColumnElement[bool]:
    return console_sessions.c.tenant_id.is_not_distinct_from(tenant_id)


def _session(row: Row[*tuple[Any, ...]]) -> ConsoleSession:
    mapping = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
    scopes = mapping["scopes"]
    return ConsoleSession(
        **{**mapping, "scopes": None if scopes is None else frozenset(map(Scope, scopes))}
    )
