"""Verify a stored profile from the command line, without the API's rate limit."""

from app.api.profiles.verify_routes import save_recommendation
from app.api.profiles.verify_schemas import VerifyRead
from app.diagnostics.ehlo_trials import Check
from app.diagnostics.verifier import Verifier
from app.domain.errors import Conflict, NotFound
from app.domain.types import Profile, Transport
from app.store.db.engine import Database
from app.store.profiles import queries as profiles


async def verify_stored(
    database: Database, verifier: Verifier, profile: Profile, check: Check | None = None
) -> VerifyRead:
    """Verify a stored profile, and store the recommended name. Raises NotFound, Conflict."""
    async with database.reading() as connection:
        delivery_profile = await profiles.load_for_delivery(
            connection, tenant_id=profile.tenant_id, profile_id=profile.id
        )
    if delivery_profile is None:
        raise NotFound("profile", profile.name)
    if delivery_profile.profile.transport is Transport.SANDBOX:
        raise Conflict("nothing-to-verify", "A sandbox has no server to verify.")
    report = await verifier.verify_stored(delivery_profile, check)
    await save_recommendation(database, delivery_profile.profile, report, verifier.now())
    return VerifyRead.of(report, verifier.now())
