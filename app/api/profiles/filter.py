"""Filter lists by profile."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.caller import Caller
from app.auth.profiles import require_profile
from app.domain.errors import InvalidRequest
from app.domain.ids import is_id
from app.store.db.database import Database


async def resolve_profile_id(connection: AsyncConnection, caller: Caller, profile: str) -> str:
    """Return the id of a profile given by id or name. Raises NotFound."""
    if is_id(profile, "prf"):
        return profile
    return (await require_profile(connection, caller.tenant_id, profile, caller_key=caller.key)).id


async def resolve_profile_ids(
    database: Database, caller: Caller | None, profile: str | None
) -> tuple[str, ...] | None:
    """Return the ids of the profiles to list within the caller's reach; None for all.

    Without a caller, an admin lists all tenants' rows. Raises NotFound or InvalidRequest.
    """
    if profile is None:
        return None if caller is None else caller.profiles
    if caller is None:
        if not is_id(profile, "prf"):
            msg = "write the profile's id, or name its tenant in the header Heloise-Tenant"
            raise InvalidRequest.in_query("profile", msg)
        return (profile,)
    async with database.reading() as connection:
        profile_id = await resolve_profile_id(connection, caller, profile)
    return (profile_id,) if caller.can_reach(profile_id) else ()
