"""Filter lists by profile."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.caller import Caller
from app.auth.profiles import require_profile
from app.domain.ids import is_id


async def resolve_profile_id(connection: AsyncConnection, caller: Caller, profile: str) -> str:
    """Return the id of a profile given by id or name. Raises NotFound."""
    if is_id(profile, "prf"):
        return profile
    return (await require_profile(connection, caller.tenant_id, profile, caller_key=caller.key)).id
