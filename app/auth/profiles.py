"""Find the profiles that a caller reaches, by name or id, and suggest similar names."""

from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.authentication import Authenticator
from app.auth.caller import Caller
from app.auth.reach import can_reach
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
    caller_key: ApiKey | None,
    for_update: bool = False,
) -> Profile:
    """Find a profile by name or id. Raises NotFound if it is missing or out of reach.

    `for_update` locks the tenant's profiles until the transaction ends, so that checks which span
    several profiles still hold at the write.
    """
    if for_update:
        await tenants.lock(connection, tenant_id=tenant_id)
    profile = await profiles.find(connection, tenant_id=tenant_id, profile=name)
    if profile is None or not can_reach(caller_key, profile):
        hint = await suggest_profile(connection, tenant_id, name, caller_key=caller_key)
        raise NotFound("profile", name, hint=hint)
    return profile


async def suggest_profile(
    connection: AsyncConnection, tenant_id: str, name: str, *, caller_key: ApiKey | None
) -> str:
    """Suggest a similar name, of the profiles that the key reaches, or return an empty text."""
    if is_id(name, "prf"):
        return ""
    profile_ids = (caller_key.profiles or None) if caller_key is not None else None
    return await profiles.suggest_name(
        connection, tenant_id=tenant_id, name=name, profile_ids=profile_ids
    )


async def find_sending_profile(
    auth: Authenticator, caller: Caller, name: str | None, *, is_single: bool = True
) -> Profile:
    """Find a profile by name or id, or the tenant's default profile.

    Raises NotFound, or InvalidRequest without a default profile. Suggests a similar name only if
    `is_single`: in a batch, the suggestion would cost more than the message.
    """
    try:
        profile = await auth.profile_cache.get(
            caller.tenant_id, name, partial(_read_profile, auth, caller.tenant_id, name)
        )
        return caller.require_reachable("profile", name or "", profile)
    except NotFound:
        if name is not None and not is_single:
            raise
        if name is not None:
            async with auth.database.reading() as connection:
                hint = await suggest_profile(
                    connection, caller.tenant_id, name, caller_key=caller.key
                )
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
