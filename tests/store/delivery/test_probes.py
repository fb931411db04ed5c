"""A failing profile's probe."""

import pytest

from app.store.db.database import Database
from app.store.delivery import lanes
from app.store.profiles import queries as profiles
from tests.support.rows import MINUTE, NOW, failing_profile, health_of, made_tenant


@pytest.mark.parametrize(("revisions_later", "is_due"), [(0, False), (1, True)])
async def test_a_probe_runs_under_the_current_revision_only(
    database: Database,
    revisions_later: int,
    is_due: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """A worker that read the profile before a change leaves the probe due for the new revision."""
    profile = await failing_profile(database, await made_tenant(database))
    async with database.transaction() as connection:
        await profiles.update(
            connection,
            tenant_id=profile.tenant_id,
            profile_id=profile.id,
            changes={"ehlo_name": "mail.example.com"},
            now=NOW,
        )
        is_locked = await lanes.lock_probe(
            connection,
            profile_id=profile.id,
            revision=profile.revision + revisions_later,
            now=NOW,
        )
        if is_locked:
            until = NOW + MINUTE
            await lanes.reserve_probe(connection, profile_id=profile.id, until=until)
    assert is_locked == is_due
    next_probe_at = (await health_of(database, profile)).next_probe_at
    assert next_probe_at == (NOW + MINUTE if is_due else NOW)
