"""Find the profiles that a caller reaches, by name or id, and suggest similar names."""

from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.authentication import Authenticator
from app.auth.caller import Caller
from app.auth.reach import reaches
from app.domain.errors import InvalidRequest, NotFound
from app.domain.ids import is_id
from app.domain.types import ApiKey, Profile
from app.store.profiles import queries as profiles
from app.store.tenants import queries as tenants


async def require_profile(
    connection: AsyncConnection,
    tenant_id: str,
    name: str,
    *,
    by: ApiKey | None,
    to_change: bool = False,
) -> Profile:
    """The tenant's profile with this name or id; raises NotFound where the key reaches none.

    With `to_change` nobody else changes the tenant's profiles until the transaction ends, so that
    what is checked as a whole is still whole when it is written.
    """
    if to_change:
        await tenants.lock(connection, tenant_id=tenant_id)
    profile = await profiles.find(connection, tenant_id=tenant_id, profile=name)
    if profile is None or not reaches(by, profile):
        hint = await suggest_profile(connection, tenant_id, name, by=by)
        raise NotFound("profile", name, hint=hint)
    return profile


async def suggest_profile(
    connection: AsyncConnection, tenant_id: str, name: str, *, by: ApiKey | None
) -> str:
    """Which profile an unknown name may be meant for, of those that the key reaches; or nothing."""
    if is_id(name, "prf"):
        return ""
    within = (by.profiles or None) if by is not None else None
    return await profiles.suggest_name(
        connection, tenant_id=tenant_id, name=name, profile_ids=within
    )


async def find_sending_profile(
    auth: Authenticator, caller: Caller, name: str | None, *, is_alone: bool = True
) -> Profile:
    """The profile with this name or id, or the tenant's default one.

    Raises NotFound, or InvalidRequest where the tenant has no default. For one of many messages it
    does not say which profile was meant: that would cost more than the message.
    """
    try:
        profile = await auth.profile_cache.get(
            caller.tenant_id, name, partial(_read_profile, auth, caller.tenant_id, name)
        )
        return caller.reached("profile", name or "", profile)
    except NotFound:
        if name is not None and not is_alone:
            raise
        if name is not None:
            async with auth.database.reading() as connection:
                hint = await suggest_profile(connection, caller.tenant_id, name, by=caller.key)
            raise NotFound("profile", name, hint=hint) from None
    if caller.profiles is None:
        raise InvalidRequest.at(
            "profile", msg="set a profile: this tenant has no default profile", type="missing"
        )
    raise NotFound(
        "profile",
        detail="This key does not reach the default profile; set one of the key's profiles.",
    )


async def _read_profile(auth: Authenticator, tenant_id: str, name: str | None) -> Profile:
    async with auth.database.reading() as connection:
        if name is None:
            profile = await profiles.get_default(connection, tenant_id=tenant_id)
        else:
            profile = await profiles.find(connection, tenant_id=tenant_id, profile=name)
    if profile is None:
        raise NotFound("profile", name or "")
    return profile
