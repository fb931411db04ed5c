"""Who was refused what: written to the audit log beside the answer."""

import logging
from typing import Final

from fastapi import Request

from app.api.request_ids import request_id
from app.api.state import Services
from app.domain.addresses import masked
from app.domain.audit import Actor, AuditEntry
from app.domain.errors import Forbidden, Problem, Unauthenticated, Unavailable
from app.domain.ids import new_id
from app.store import audit

log = logging.getLogger(__name__)

MAX_PATH_CHARACTERS: Final = 255


def note_actor(request: Request, actor: Actor, tenant_id: str | None = None) -> None:
    """Remember who asks, in case that they are refused."""
    request.state.actor, request.state.tenant_id = actor, tenant_id


async def note_refusal(request: Request, problem: Problem) -> None:
    """Write down that somebody was refused; a source that is not heard any more is not noted.

    So guessing does not fill the log: what is noted of one source is bounded by its guesses.
    """
    if not isinstance(problem, Unauthenticated | Forbidden):
        return
    actor: Actor | None = getattr(request.state, "actor", None)
    if actor is None:
        return
    services: Services = request.app.state.services
    entry = AuditEntry(
        id=new_id("aud"),
        at=services.now(),
        actor=actor,
        action=operation_of(request),
        tenant_id=request.state.tenant_id,
        object_id=masked(request.url.path)[:MAX_PATH_CHARACTERS],
        refused_as=problem.slug,
        request_id=request_id.get(),
    )
    try:
        async with services.database.transaction() as connection:
            await audit.record(connection, entry)
    except Unavailable:
        log.warning("a refusal could not be written to the audit log", extra={"slug": problem.slug})


def operation_of(request: Request) -> str:
    """The operation's id as the OpenAPI document has it."""
    route = request.scope.get("route")
    return getattr(route, "operation_id", None) or request.method
