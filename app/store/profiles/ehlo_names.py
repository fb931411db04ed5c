"""Load the names of a tenant that may serve a profile as EHLO name."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ehlo import OtherNames
from app.store.profiles.rows import is_live
from app.store.tables.core import profiles
from app.store.tables.domains import sending_domains

# Verify tries fewer; some of these may be the same as others.
MAX_NAMES: Final = 10


async def load_other_names(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    profile_id: str,
    profile_ids: Sequence[str] | None = None,
) -> OtherNames:
    """Load the tenant's domains and the EHLO names of its other profiles, oldest first.

    `profile_ids` restricts the profiles.
    """
    domain_query = (
        select(sending_domains.c.domain)
        .where(sending_domains.c.tenant_id == tenant_id)
        .order_by(sending_domains.c.id)
        .limit(MAX_NAMES)
    )
    name_query = (
        select(profiles.c.ehlo_name)
        .where(*is_live(tenant_id), profiles.c.id != profile_id, profiles.c.ehlo_name.is_not(None))
        .group_by(profiles.c.ehlo_name)
        .order_by(func.min(profiles.c.id))
        .limit(MAX_NAMES)
    )
    if profile_ids is not None:
        name_query = name_query.where(profiles.c.id.in_(profile_ids))
    return OtherNames(
        signing_domains=tuple((await connection.execute(domain_query)).scalars()),
        other_profiles=tuple((await connection.execute(name_query)).scalars()),
    )
