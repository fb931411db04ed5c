"""Store access tokens for all replicas; one replica at a time renews a token."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.domain.types import Profile
from app.store.profiles.rows import is_live
from app.store.tables.core import oauth_tokens, profiles


@dataclass(frozen=True, slots=True)
class SealedSecrets:
    """The credentials for a token request, still sealed."""

    client_secret: bytes | None = field(repr=False)
    private_key: bytes | None = field(repr=False)
    refresh_token: bytes | None = field(repr=False)


async def find(connection: AsyncConnection, *, profile: Profile) -> tuple[bytes, datetime] | None:
    """Return the sealed token for this revision of the profile, and its expiry."""
    query = select(oauth_tokens.c.sealed_access_token, oauth_tokens.c.expires_at).where(
        *_is_token_of(profile), oauth_tokens.c.sealed_access_token.is_not(None)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else (row.sealed_access_token, row.expires_at)


async def begin_renewal(
    connection: AsyncConnection,
    *,
    profile: Profile,
    owner: str,
    now: datetime,
    until: datetime,
) -> SealedSecrets | None:
    """Reserve the renewal until a moment; return its credentials, or None if reserved.

    A reservation ends at its `until`. Raises NotFound if the profile has another revision.
    """
    secrets = await _load_secrets(connection, profile)
    of_profile = oauth_tokens.c.profile_id == profile.id
    is_older = oauth_tokens.c.profile_revision < profile.revision
    renewing = {"renewing_by": owner, "renewing_until": until}
    empty = {"profile_revision": profile.revision, "sealed_access_token": None, "expires_at": None}
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
    row = {"profile_id": profile.id, **empty, **renewing}
    await connection.execute(insert(oauth_tokens).values(row))
    return secrets


async def _load_secrets(connection: AsyncConnection, profile: Profile) -> SealedSecrets:
    """Lock the profile and return its credentials, so that concurrent renewals take turns."""
    query = (
        select(
            profiles.c.sealed_oauth_client_secret,
            profiles.c.sealed_oauth_private_key,
            profiles.c.sealed_oauth_refresh_token,
        )
        .where(*_is_current(profile))
        .with_for_update(key_share=True)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound("profile", profile.id)
    return SealedSecrets(*row)


async def save(
    connection: AsyncConnection,
    *,
    profile: Profile,
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
            .where(*_is_current(profile))
            .values(sealed_oauth_refresh_token=refresh_token)
        )
    await connection.execute(
        update(oauth_tokens)
        .where(*_is_token_of(profile), oauth_tokens.c.renewing_by == owner)
        .values(
            sealed_access_token=sealed,
            expires_at=expires_at,
            renewing_by=None,
            renewing_until=None,
        )
    )


async def cancel_renewal(connection: AsyncConnection, *, profile: Profile, owner: str) -> None:
    """End a failed renewal; keep the current token."""
    await connection.execute(
        update(oauth_tokens)
        .where(*_is_token_of(profile), oauth_tokens.c.renewing_by == owner)
        .values(renewing_by=None, renewing_until=None)
    )


async def discard(connection: AsyncConnection, *, profile: Profile, sealed: bytes) -> None:
    """Delete a token that a server refused, unless it was replaced."""
    await connection.execute(
        update(oauth_tokens)
        .where(
            *_is_token_of(profile),
            oauth_tokens.c.sealed_access_token == sealed,
        )
        .values(sealed_access_token=None, expires_at=None)
    )


def _is_current(profile: Profile) -> tuple[ColumnElement[bool], ...]:
    """Build the conditions for a profile that has this revision."""
    is_it = profiles.c.id == profile.id
    return (*is_live(profile.tenant_id), is_it, profiles.c.revision == profile.revision)


def _is_token_of(profile: Profile) -> tuple[ColumnElement[bool], ...]:
    """Build the conditions for the token of a profile's revision."""
    of_tenant = select(profiles.c.id).where(
        *is_live(profile.tenant_id), profiles.c.id == profile.id
    )
    is_of_revision = oauth_tokens.c.profile_revision == profile.revision
    return oauth_tokens.c.profile_id.in_(of_tenant), is_of_revision
