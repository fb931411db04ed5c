"""Filter lists by profile."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.caller import Caller
from app.auth.profiles import require_profile
from app.domain.ids import is_id


async def resolve_profile_id(connection: AsyncConnection, caller: Caller, profile: str) -> str:
    """The id of a profile by its name; an id is taken as it is. Raises NotFound."""
    if is_id(profile, "prf"):
        return profile
    return (await require_profile(connection, caller.tenant_id, profile, by=caller.key)).id
