"""Store access tokens for all replicas; one replica at a time renews a token."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.store.profiles.rows import is_live
from app.store.tables.core import oauth_tokens, profiles


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A profile's token, if there is one, and who renews it."""

    sealed: bytes | None = field(repr=False)
    expires_at: datetime | None
    renewal_owner: str | None


@dataclass(frozen=True, slots=True)
class SealedSecrets:
    """The credentials for a token request, still sealed."""

    client_secret: bytes | None = field(repr=False)
    private_key: bytes | None = field(repr=False)
    refresh_token: bytes | None = field(repr=False)


async def find(
    connection: AsyncConnection, *, tenant_id: str, profile_id: str, revision: int
) -> StoredToken | None:
    """Return the token for this revision of the profile."""
    query = select(
        oauth_tokens.c.sealed_access_token, oauth_tokens.c.expires_at, oauth_tokens.c.renewing_by
    ).where(*_is_token_of(tenant_id, profile_id, revision))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else StoredToken(*row)


async def begin_renewal(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    profile_id: str,
    revision: int,
    owner: str,
    now: datetime,
    until: datetime,
) -> SealedSecrets | None:
    """Reserve the renewal until a moment; return its credentials, or None if reserved.

    A reservation ends at its `until`. Raises NotFound if the profile has another revision.
    """
    secrets = await _load_secrets(connection, tenant_id, profile_id, revision)
    of_profile = oauth_tokens.c.profile_id == profile_id
    is_older = oauth_tokens.c.profile_revision < revision
    renewing = {"renewing_by": owner, "renewing_until": until}
    empty = {"profile_revision": revision, "sealed_access_token": None, "expires_at": None}
    # Tokens for other settings are useless, and so are renewals of them.
    await connection.execute(
        update(oauth_tokens)
        .where(of_profile, is_older)
        .values(**empty, renewing_by=None, renewing_until=None)
    )
    is_free = or_(oauth_tokens.c.renewing_until.is_(None), oauth_tokens.c.renewing_until <= now)
    result = await connection.execute(
        update(oauth_tokens).where(of_profile, is_free).values(renewing)
    )
    if result.rowcount:
        return secrets
    query = select(oauth_tokens.c.profile_id).where(of_profile)
    if (await connection.execute(query)).one_or_none() is not None:
        return None
    row = {"profile_id": profile_id, **empty, **renewing}
    await connection.execute(insert(oauth_tokens).values(row))
    return secrets


async def _load_secrets(
    connection: AsyncConnection, tenant_id: str, profile_id: str, revision: int
) -> SealedSecrets:
    """Lock the profile and return its credentials, so that concurrent renewals take turns."""
    query = (
        select(
            profiles.c.sealed_oauth_client_secret,
            profiles.c.sealed_oauth_private_key,
            profiles.c.sealed_oauth_refresh_token,
        )
        .where(*is_live(tenant_id), profiles.c.id == profile_id, profiles.c.revision == revision)
        .with_for_update(key_share=True)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound("profile", profile_id)
    return SealedSecrets(*row)


async def save(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    profile_id: str,
    revision: int,
    owner: str,
    sealed: bytes,
    expires_at: datetime,
    refresh_token: bytes | None,
) -> None:
    """Store a new token and end the renewal, unless another owner took over.

    Stores a new `refresh_token` in any case, since the old one may be invalid. The revision stays:
    nothing of the profile's identity changes.
    """
    if refresh_token is not None:
        await connection.execute(
            update(profiles)
            .where(
                *is_live(tenant_id), profiles.c.id == profile_id, profiles.c.revision == revision
            )
            .values(sealed_oauth_refresh_token=refresh_token)
        )
    await connection.execute(
        update(oauth_tokens)
        .where(*_is_token_of(tenant_id, profile_id, revision), oauth_tokens.c.renewing_by == owner)
        .values(
            sealed_access_token=sealed,
            expires_at=expires_at,
            renewing_by=None,
            renewing_until=None,
        )
    )


async def cancel_renewal(
    connection: AsyncConnection, *, tenant_id: str, profile_id: str, revision: int, owner: str
) -> None:
    """End a failed renewal; keep the current token."""
    await connection.execute(
        update(oauth_tokens)
        .where(*_is_token_of(tenant_id, profile_id, revision), oauth_tokens.c.renewing_by == owner)
        .values(renewing_by=None, renewing_until=None)
    )


async def discard(
    connection: AsyncConnection, *, tenant_id: str, profile_id: str, revision: int, sealed: bytes
) -> None:
    """Delete a token that a server refused, unless it was replaced."""
    await connection.execute(
        update(oauth_tokens)
        .where(
            *_is_token_of(tenant_id, profile_id, revision),
            oauth_tokens.c.sealed_access_token == sealed,
        )
        .values(sealed_access_token=None, expires_at=None)
    )


def _is_token_of(tenant_id: str, profile_id: str, revision: int) -> tuple[ColumnElement[bool], ...]:
    """Build the conditions for the token of a profile's revision."""
    profile_ids = select(profiles.c.id).where(*is_live(tenant_id), profiles.c.id == profile_id)
    return oauth_tokens.c.profile_id.in_(profile_ids), oauth_tokens.c.profile_revision == revision
