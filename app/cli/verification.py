"""Verify a stored profile from the command line, without the API's rate limit."""

from app.api.profiles.verify_schemas import ProfileVerify, VerifyRead
from app.api.profiles.verify_service import build_check, save_recommendation
from app.auth.profiles import require_profile
from app.cli.database import open_database, require_schema
from app.cli.input_validation import validation_errors
from app.diagnostics.ehlo_trials import Check
from app.diagnostics.verifier import Verifier
from app.domain.clock import SystemClock
from app.domain.errors import Conflict, NotFound
from app.domain.types import Profile, Transport
from app.sending_services import make_verifier
from app.settings import Settings
from app.store.db.database import Database
from app.store.profiles import queries as profiles
from app.store.profiles.ehlo_names import load_other_names
from app.store.tenants import queries as tenants


async def verify_profile(
    settings: Settings, tenant: str, profile: str, body: ProfileVerify
) -> VerifyRead:
    """Verify a profile by name or id. Raises InvalidRequest, NotFound, Conflict."""
    await require_schema(settings)
    async with open_database(settings) as database:
        async with database.reading() as connection:
            owner = await tenants.get(connection, tenant=tenant)
            stored_profile = await require_profile(connection, owner.id, profile, caller_key=None)
        with validation_errors():
            check = build_check(stored_profile, body)
        verifier = make_verifier(settings, database, SystemClock())
        return await verify_stored(database, verifier, stored_profile, check)


async def verify_stored(
    database: Database, verifier: Verifier, profile: Profile, check: Check | None = None
) -> VerifyRead:
    """Verify a stored profile, and store the recommended name. Raises NotFound, Conflict."""
    async with database.reading() as connection:
        delivery_profile = await profiles.load_for_delivery(
            connection, tenant_id=profile.tenant_id, profile_id=profile.id
        )
        other_names = await load_other_names(
            connection, tenant_id=profile.tenant_id, profile_id=profile.id
        )
    if delivery_profile is None:
        raise NotFound("profile", profile.name)
    if delivery_profile.profile.transport is Transport.SANDBOX:
        raise Conflict("nothing-to-verify", "A sandbox has no server to verify.")
    report = await verifier.verify_stored(delivery_profile, check, other_names=other_names)
    await save_recommendation(database, delivery_profile.profile, report, verifier.now())
    return VerifyRead.of(report, verifier.now())
