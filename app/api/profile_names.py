"""Profiles by the names that people write: where there is none, the one that is spelt alike."""

from difflib import get_close_matches
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.reach import reaches
from app.domain.errors import NotFound
from app.domain.ids import is_id
from app.domain.types import ApiKey, Profile
from app.store import profiles, tenants

# To compare so much takes 20 ms at worst, of names that were made for it.
MAX_COMPARED: Final = 100
MAX_CHARACTERS: Final = 32
# What is spelt alike is about as long.
MAX_DIFFERENCE: Final = 3


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
    found = await profiles.find(connection, tenant_id=tenant_id, profile=name)
    if found is None or not reaches(by, found):
        hint = await spelt_alike(connection, tenant_id, name, by=by)
        raise NotFound("profile", name, hint=hint)
    return found


async def spelt_alike(
    connection: AsyncConnection, tenant_id: str, name: str, *, by: ApiKey | None
) -> str:
    """Which profile an unknown name may be meant for, of those that the key reaches; or nothing."""
    if is_id(name, "prf"):
        return ""
    known = await profiles.names(
        connection,
        tenant_id=tenant_id,
        limit=MAX_COMPARED,
        characters=(len(name) - MAX_DIFFERENCE, len(name) + MAX_DIFFERENCE),
        within=(by.profiles or None) if by is not None else None,
    )
    starts = {known_name[:MAX_CHARACTERS]: known_name for known_name in known}
    likely = get_close_matches(name[:MAX_CHARACTERS], starts, n=1)
    return f"; did you mean {starts[likely[0]]!r}?" if likely else ""
