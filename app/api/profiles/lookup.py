"""Find profiles by name, and suggest similar names."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.reach import reaches
from app.domain.errors import NotFound
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
        hint = await spelt_alike(connection, tenant_id, name, by=by)
        raise NotFound("profile", name, hint=hint)
    return profile


async def spelt_alike(
    connection: AsyncConnection, tenant_id: str, name: str, *, by: ApiKey | None
) -> str:
    """Which profile an unknown name may be meant for, of those that the key reaches; or nothing."""
    if is_id(name, "prf"):
        return ""
    within = (by.profiles or None) if by is not None else None
    return await profiles.spelt_alike(connection, tenant_id=tenant_id, name=name, within=within)
