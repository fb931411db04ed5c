"""Serve `/submissions`: what SMTP clients said, and what Heloise replied."""

from functools import partial
from typing import Annotated

from fastapi import Path, Query

from app.api.auth.dependencies import SubmissionReader
from app.api.http.pagination import read_page
from app.api.openapi import problems
from app.api.profiles.filter import resolve_profile_ids
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices
from app.api.submissions.schemas import EXAMPLE, SubmissionPage, SubmissionQuery, SubmissionRead
from app.domain.errors import NotFound
from app.store import submissions
from app.store.submissions import SubmissionFilter

router = Router("Submissions")


@router.get("/submissions", summary="List SMTP sessions")
@problems("profile-not-found")
async def list_submissions(
    query: Annotated[SubmissionQuery, Query()], caller: SubmissionReader, services: ReadyServices
) -> SubmissionPage:
    """List the ended sessions of SMTP clients, newest first, including refused ones.

    Heloise lists a session about a second after its end, and keeps it for
    HELOISE_SUBMISSION_LOG_DAYS. A key that is bound to profiles gets only their sessions. Without
    `Heloise-Tenant`, an admin key gets all tenants' sessions and those without a valid key.
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
            profile_ids=await resolve_profile_ids(services.database, caller, query.profile),
        ),
    )
    return await read_page(services.replica, query, "sub", load, SubmissionPage, SubmissionRead.of)


@router.get("/submissions/{submission}", summary="Get an SMTP session")
@problems("submission-not-found")
async def get_submission(
    submission: Annotated[str, Path(description="The session's id.", examples=[EXAMPLE["id"]])],
    caller: SubmissionReader,
    services: ReadyServices,
) -> SubmissionRead:
    """Get an ended session of an SMTP client."""
    tenant_id = None if caller is None else caller.tenant_id
    async with services.database.reading() as connection:
        session = await submissions.find(connection, tenant_id=tenant_id, submission_id=submission)
    if caller is not None:
        session = caller.require_reachable("submission", submission, session)
    if session is None:
        raise NotFound("submission", submission)
    return SubmissionRead.of(session)
