"""Serve `/submissions`: what SMTP clients said, and what Heloise replied."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.api.auth.dependencies import SubmissionReader
from app.api.http.pagination import read_page
from app.api.openapi import tenant_problems
from app.api.profiles.filter import resolve_profile_id
from app.api.services import ReadyServices, Services
from app.api.submissions.schemas import EXAMPLE, SubmissionPage, SubmissionQuery, SubmissionRead
from app.auth.caller import Caller
from app.domain.errors import FieldError, InvalidRequest, NotFound
from app.domain.ids import is_id
from app.store import submissions
from app.store.submissions import SubmissionFilter

router = APIRouter(tags=["Submissions"])


@router.get(
    "/submissions",
    operation_id="list_submissions",
    summary="List SMTP sessions",
    responses=tenant_problems("profile-not-found", "invalid-request"),
)
async def list_submissions(
    query: Annotated[SubmissionQuery, Query()], caller: SubmissionReader, services: ReadyServices
) -> SubmissionPage:
    """List the ended sessions of SMTP clients, newest first, including refused ones.

    Heloise lists a session about a second after its end, and keeps it for
    HELOISE_SUBMISSION_LOG_DAYS. A key that is bound to profiles gets only their sessions. Without
    `Heloise-Tenant`, an admin key gets all tenants' sessions and those without a valid key.
    Requires the scope `messages:read`.
    """
    load = partial(
        submissions.page,
        tenant_id=None if caller is None else caller.tenant_id,
        submission_filter=SubmissionFilter(
            client_address=query.client_address,
            login=query.login,
            message_id=query.message,
            started_after=query.started_after,
            started_before=query.started_before,
            profile_ids=await _resolve_profiles(services, caller, query.profile),
        ),
    )
    return await read_page(services.database, query, "sub", load, SubmissionPage, SubmissionRead.of)


@router.get(
    "/submissions/{submission}",
    operation_id="get_submission",
    summary="Get an SMTP session",
    responses=tenant_problems("submission-not-found"),
)
async def get_submission(
    submission: Annotated[str, Path(description="The session's id.", examples=[EXAMPLE["id"]])],
    caller: SubmissionReader,
    services: ReadyServices,
) -> SubmissionRead:
    """Get an ended session of an SMTP client.

    Requires the scope `messages:read`.
    """
    tenant_id = None if caller is None else caller.tenant_id
    async with services.database.reading() as connection:
        session = await submissions.find(connection, tenant_id=tenant_id, submission_id=submission)
    if caller is not None:
        session = caller.require_reachable("submission", submission, session)
    if session is None:
        raise NotFound("submission", submission)
    return SubmissionRead.of(session)


async def _resolve_profiles(
    services: Services, caller: Caller | None, profile: str | None
) -> tuple[str, ...] | None:
    """Return the ids of the profiles to list within the caller's reach; None for all."""
    if profile is None:
        return None if caller is None else caller.profiles
    if caller is None:
        if not is_id(profile, "prf"):
            msg = "write the profile's id, or name its tenant in the header Heloise-Tenant"
            raise InvalidRequest(f"query.profile: {msg}", [FieldError(("query", "profile"), msg)])
        return (profile,)
    async with services.database.reading() as connection:
        profile_id = await resolve_profile_id(connection, caller, profile)
    return (profile_id,) if caller.can_reach(profile_id) else ()
