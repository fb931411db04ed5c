"""Serve `/profiles/…/verify`: test a profile on its server."""

import math
from typing import Annotated, Final

from fastapi import Body as JsonBody

from app.api.auth.dependencies import ProfileManager, UnboundProfileManager
from app.api.openapi import problems
from app.api.profiles.builder import build_new_profile
from app.api.profiles.routes import InPath
from app.api.profiles.secrets import read_plain_secrets
from app.api.profiles.verify_examples import EXAMPLE, UNSAVED
from app.api.profiles.verify_schemas import ProfileVerify, UnsavedVerify, VerifyRead
from app.api.profiles.verify_service import build_check, save_recommendation
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices, Services
from app.auth.profiles import require_profile
from app.domain.delivery.token_bucket import count_permits, next_permit_at
from app.domain.errors import Conflict, InvalidRequest, TooManyRequests
from app.domain.types import RateLimit, Transport
from app.store.delivery.shared_limits import take_verify_permit
from app.store.profiles import queries as profiles
from app.store.profiles.ehlo_names import load_other_names
from app.store.profiles.queries import DeliveryProfile
from app.store.tenants import queries as tenants

router = Router("Profiles")

MINUTE_SECONDS: Final = 60


@router.post(
    "/profiles/verify",
    summary="Verify a profile without saving it",
    response_description="The result of each stage. `ok` says whether the profile can send mail.",
)
@problems("too-many-verifications")
async def verify_unsaved_profile(
    body: Annotated[UnsavedVerify, JsonBody(openapi_examples=UNSAVED)],
    caller: UnboundProfileManager,
    services: ReadyServices,
) -> VerifyRead:
    """Test a profile's settings on its server without saving them.

    In other respects, this is the same as verifying a saved profile.
    """
    profile = build_new_profile(body, tenant_id=caller.tenant_id, now=services.now())
    if profile.transport is Transport.SANDBOX:
        raise InvalidRequest.at("transport", msg="a sandbox has no server to verify")
    check = build_check(profile, body)
    await take_permit(services, caller.tenant_id)
    async with services.database.reading() as connection:
        tenant = await tenants.get(connection, tenant=caller.tenant_id)
        other_names = await load_other_names(connection, tenant_id=tenant.id, profile_id=profile.id)
    delivery_profile = DeliveryProfile(profile=profile, tenant_ehlo_name=tenant.ehlo_name)
    report = await services.verifier.verify_unsaved(
        delivery_profile, read_plain_secrets(body), check, other_names=other_names
    )
    return VerifyRead.of(report, services.now())


@router.post(
    "/profiles/{profile}/verify",
    summary="Verify a profile",
    response_description="The result of each stage. `ok` says whether the profile can send mail.",
)
@problems("profile-not-found", "nothing-to-verify", "too-many-verifications")
async def verify_profile(
    profile: InPath,
    caller: ProfileManager,
    services: ReadyServices,
    body: Annotated[ProfileVerify | None, JsonBody(openapi_examples=EXAMPLE)] = None,
) -> VerifyRead:
    """Test a profile on its real server, without sending, and say what to change.

    The stages are `address_guard`, `dns`, `tcp`, `banner`, `ehlo`, `tls`, `ehlo_after_tls` and
    `auth`, and with a `recipient` also `mail` and `rcpt`, followed by RSET. Verify never sends
    DATA. It takes at most 30 seconds and does not affect delivery. You can run it
    HELOISE_VERIFY_PER_MINUTE times a minute.

    If the server refuses the EHLO name, Heloise tries a few others: the domains of `default_from`
    and `allowed_from` first, then the other names of the tenant that the key reaches.
    `ehlo_diagnosis` recommends one, or says what to ask the server's operator for.
    """
    verify_body = body or ProfileVerify()
    async with services.database.reading() as connection:
        profile_row = await require_profile(
            connection, caller.tenant_id, profile, caller_key=caller.key
        )
        delivery_profile = await profiles.load_for_delivery(
            connection, tenant_id=caller.tenant_id, profile_id=profile_row.id
        )
        other_names = await load_other_names(
            connection,
            tenant_id=caller.tenant_id,
            profile_id=profile_row.id,
            profile_ids=caller.profiles,
        )
    if delivery_profile is None or delivery_profile.profile.transport is Transport.SANDBOX:
        raise Conflict("nothing-to-verify", "A sandbox has no server to verify.")
    check = build_check(delivery_profile.profile, verify_body)
    await take_permit(services, caller.tenant_id)
    report = await services.verifier.verify_stored(delivery_profile, check, other_names=other_names)
    await save_recommendation(services.database, delivery_profile.profile, report, services.now())
    return VerifyRead.of(report, services.now())


async def take_permit(services: Services, tenant_id: str) -> None:
    """Raise TooManyRequests if the tenant has used up its verifications of this minute."""
    limit = RateLimit(messages=services.verify_per_minute, per_seconds=MINUTE_SECONDS)
    async with services.database.transaction() as connection:
        bucket = await take_verify_permit(
            connection, tenant_id=tenant_id, limit=limit, now=services.now()
        )
    if not count_permits(bucket):
        wait = (next_permit_at(bucket, limit) - services.now()).total_seconds()
        raise TooManyRequests(
            "too-many-verifications",
            f"A tenant may verify {limit.amount} profiles or domains a minute"
            " (HELOISE_VERIFY_PER_MINUTE); wait for Retry-After.",
            retry_after_seconds=max(1, math.ceil(wait)),
            limit=limit.amount,
            per_seconds=limit.per_seconds,
        )
