"""Serve `/profiles`: the SMTP identities of a tenant."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Final, Unpack

from fastapi import Body as JsonBody
from fastapi import Path, Query, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.auth.dependencies import (
    ListQuery,
    ProfileManager,
    ProfileReader,
    UnboundProfileManager,
)
from app.api.http.pagination import read_page
from app.api.openapi import describe_location, problems
from app.api.profiles import service as profile_actions
from app.api.profiles.examples import CREATE, UPDATE
from app.api.profiles.responses import ProfilePage, ProfileRead
from app.api.profiles.schemas import ProfileCreate, ProfileUpdate
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices, Services
from app.auth.audit_context import AuditContext
from app.auth.caller import Caller
from app.auth.profiles import require_profile
from app.domain.types import Profile
from app.store.db.keyset import Slice
from app.store.profiles import queries as profiles
from app.store.tenants import queries as tenants

router = Router("Profiles")

LOCATION: Final = "/profiles/prf_0198c5a2d3f07b6e8a4c1d2e3f405162"
InPath = Annotated[str, Path(description="The profile's id or name.", examples=["transactional"])]


@router.post(
    "/profiles",
    status_code=201,
    summary="Create a profile",
    response_description="The new profile. You can send messages through it.",
    responses=describe_location(LOCATION),
)
@problems("profile-exists", "quota-exceeded")
async def create_profile(
    body: Annotated[ProfileCreate, JsonBody(openapi_examples=CREATE)],
    response: Response,
    caller: UnboundProfileManager,
    services: ReadyServices,
) -> ProfileRead:
    """Create a profile. Heloise stores its password encrypted and never returns it."""
    async with services.database.transaction() as connection:
        profile = await profile_actions.create(
            connection,
            caller.audit_context(services.now()),
            body,
            tenant_id=caller.tenant_id,
            vault=services.vault,
            guard=services.guard,
        )
        answer = await _read_again(connection, services, caller, profile)
    services.auth.forget_profiles(caller.tenant_id)
    response.headers["Location"] = f"/profiles/{profile.id}"
    return answer


@router.get("/profiles", summary="List profiles")
async def list_profiles(
    paging: ListQuery, caller: ProfileReader, services: ReadyServices
) -> ProfilePage:
    """List the tenant's profiles, oldest first."""

    async def load(connection: AsyncConnection, **part: Unpack[Slice]) -> list[ProfileRead]:
        rows = await profiles.page(
            connection, tenant_id=caller.tenant_id, profile_ids=caller.profiles, **part
        )
        return await _build_answers(connection, services, caller, rows)

    return await read_page(services.database, paging, "prf", load, ProfilePage)


@router.get("/profiles/{profile}", summary="Get a profile")
@problems("profile-not-found")
async def get_profile(
    profile: InPath, caller: ProfileReader, services: ReadyServices
) -> ProfileRead:
    """Get a profile with its effective EHLO name and its state."""
    async with services.database.reading() as connection:
        row = await require_profile(connection, caller.tenant_id, profile, caller_key=caller.key)
        [answer] = await _build_answers(connection, services, caller, [row])
    return answer


@router.patch("/profiles/{profile}", summary="Update a profile")
@problems("profile-not-found", "profile-exists", "key-is-bound")
async def update_profile(
    profile: InPath,
    body: Annotated[ProfileUpdate, JsonBody(openapi_examples=UPDATE)],
    caller: ProfileManager,
    services: ReadyServices,
) -> ProfileRead:
    """Update the given fields; null removes a value (RFC 7396).

    Heloise validates the resulting profile as a whole. A secret is bound to its destination: set it
    again if you change `host`, `port`, `tls`, `tls_ca`, `tls_min_version`, `tls_server_name` or
    `tls_pins`. Secrets in `auth` also depend on `auth.username`, `auth.allow_plaintext_auth` and,
    for OAuth, `auth.token_url`.

    Waiting messages use the updated profile. Heloise tries a failing profile again at once.
    """
    change = partial(
        profile_actions.update,
        body=body,
        vault=services.vault,
        guard=services.guard,
        caller_key=caller.key,
    )
    return await _change(services, caller, profile, change)


@router.delete(
    "/profiles/{profile}",
    status_code=204,
    summary="Delete a profile",
    response_description="The profile and its credentials are deleted.",
)
@problems("profile-not-found", "profile-has-pending-messages")
async def delete_profile(
    profile: InPath,
    caller: ProfileManager,
    services: ReadyServices,
    *,
    cancel_pending: Annotated[
        bool,
        Query(description="Whether to cancel unfinished messages. Otherwise Heloise refuses."),
    ] = False,
) -> None:
    """Delete a profile and its credentials. Its messages stay readable.

    Refused while the profile has unfinished messages, unless `cancel_pending` is true.
    """
    async with services.database.transaction(announce=True) as connection:
        row = await _lock_profile(connection, caller, profile)
        await profile_actions.delete(
            connection, caller.audit_context(services.now()), row, cancel_pending=cancel_pending
        )
    services.auth.forget_profiles(caller.tenant_id)


@router.post(
    "/profiles/{profile}/pause",
    summary="Pause a profile",
    response_description="The paused profile.",
)
@problems("profile-not-found")
async def pause_profile(
    profile: InPath, caller: ProfileManager, services: ReadyServices
) -> ProfileRead:
    """Stop sending through a profile. Heloise accepts its messages and keeps them waiting."""
    return await _change(services, caller, profile, profile_actions.pause)


@router.post(
    "/profiles/{profile}/resume",
    summary="Resume a profile",
    response_description="The active profile.",
)
@problems("profile-not-found")
async def resume_profile(
    profile: InPath, caller: ProfileManager, services: ReadyServices
) -> ProfileRead:
    """Resume sending. Heloise tries a failing profile's server at once."""
    return await _change(services, caller, profile, profile_actions.resume)


async def _change(
    services: Services,
    caller: Caller,
    profile: str,
    change: Callable[[AsyncConnection, AuditContext, Profile], Awaitable[None]],
) -> ProfileRead:
    """Change a profile in a transaction of its own, and return it."""
    async with services.database.transaction(announce=True) as connection:
        row = await _lock_profile(connection, caller, profile)
        await change(connection, caller.audit_context(services.now()), row)
        answer = await _read_again(connection, services, caller, row)
    services.auth.forget_profiles(caller.tenant_id)
    return answer


async def _lock_profile(connection: AsyncConnection, caller: Caller, profile: str) -> Profile:
    """Lock and return the profile; raises NotFound outside the caller's reach."""
    return await require_profile(
        connection, caller.tenant_id, profile, caller_key=caller.key, for_update=True
    )


async def _read_again(
    connection: AsyncConnection, services: Services, caller: Caller, profile: Profile
) -> ProfileRead:
    """Read the profile after a change, since a change may affect other fields."""
    row = await profiles.get(connection, tenant_id=profile.tenant_id, profile=profile.id)
    [answer] = await _build_answers(connection, services, caller, [row])
    return answer


async def _build_answers(
    connection: AsyncConnection, services: Services, caller: Caller, rows: Sequence[Profile]
) -> list[ProfileRead]:
    return await profile_actions.read_all(
        connection,
        await tenants.get(connection, tenant=caller.tenant_id),
        rows,
        now=services.now(),
        names=services.ehlo_names,
        local_address=services.local_address,
        caller_key=caller.key,
    )
