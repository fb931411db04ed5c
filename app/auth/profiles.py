"""Find the profiles that a caller reaches, by name or id, and suggest similar names."""

from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.authentication import Authenticator
from app.auth.caller import Caller
from app.auth.reach import can_reach
from app.domain.address.parse import is_allowed
from app.domain.errors import InvalidRequest, NotFound
from app.domain.ids import is_id
from app.domain.types import ApiKey, NamedAddress, Profile
from app.store.db.keyset import read_pages
from app.store.profiles import queries as profiles
from app.store.tenants import queries as tenants

PROFILES_PER_READ: Final = 200


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
        key, cache = (caller.tenant_id, name), auth.profile_cache
        profile = cache.get(key) or await cache.read(key, partial(_read_profile, auth, *key))
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


async def find_profile_of_sender(
    auth: Authenticator, caller: Caller, sender: NamedAddress | None
) -> Profile | None:
    """Find the profile for a request that names none; None: the tenant's default.

    It is the only profile of the caller's key, or else the one whose `allowed_from` names the
    sender most closely.
    """
    if caller.profiles is not None and len(caller.profiles) == 1:
        return await find_sending_profile(auth, caller, caller.profiles[0])
    if sender is None:
        return None
    key = caller.tenant_id, f"{sender.address.lower()} {','.join(caller.profiles or ())}"
    read, cache = partial(_read_profile_of_sender, auth, caller, sender), auth.sender_profile_cache
    try:
        return cache.get(key) or await cache.read(key, read)
    except NotFound:
        return None


async def _read_profile_of_sender(
    auth: Authenticator, caller: Caller, sender: NamedAddress
) -> Profile:
    """Read the closest profile, or the default one; raises NotFound without either."""
    candidates = list[tuple[tuple[bool, bool, bool], Profile]]()
    async with auth.database.reading() as connection:
        load = partial(
            profiles.page, connection, tenant_id=caller.tenant_id, profile_ids=caller.profiles
        )
        async for rows in read_pages(load, limit=PROFILES_PER_READ):
            for profile in rows:
                ranks = [
                    ("@*." in pattern, pattern.startswith("*@"), not profile.is_default)
                    for pattern in profile.allowed_from
                    if is_allowed(sender, (pattern,))
                ]
                candidates += [(rank, profile) for rank in ranks]
    if not candidates:
        default_profile = await _read_profile(auth, caller.tenant_id, None)
        return caller.require_reachable("profile", "", default_profile)
    return min(candidates, key=lambda candidate: (candidate[0], candidate[1].id))[1]


async def _read_profile(auth: Authenticator, tenant_id: str, name: str | None) -> Profile:
    async with auth.database.reading() as connection:
        if name is None:
            profile = await profiles.get_default(connection, tenant_id=tenant_id)
        else:
            profile = await profiles.find(connection, tenant_id=tenant_id, profile=name)
    if profile is None:
        raise NotFound("profile", name or "")
    return profile
