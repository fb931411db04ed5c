"""The profile that a list is about."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.callers import Caller
from app.domain.ids import is_id
from app.store import profiles


async def profile_id_of(connection: AsyncConnection, caller: Caller, profile: str) -> str:
    """The id of a profile by its name; an id is taken as it is. Raises NotFound."""
    if is_id(profile, "prf"):
        return profile
    named = await profiles.find(connection, tenant_id=caller.tenant_id, profile=profile)
    return caller.reached("profile", profile, named).id
