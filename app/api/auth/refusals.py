"""Write refused requests to the audit log."""

import logging
from typing import Final

from fastapi import Request

from app.api.auth.authentication import visitor_of
from app.api.http.request_id import request_id
from app.api.services import Services
from app.domain.address.parse import masked
from app.domain.audit import AuditEntry
from app.domain.errors import Forbidden, Problem, Unauthenticated, Unavailable
from app.domain.ids import new_id
from app.store import audit

log = logging.getLogger(__name__)

MAX_PATH_CHARACTERS: Final = 255


async def note_refusal(request: Request, problem: Problem) -> None:
    """Write down that a key was refused, unless its source guesses.

    Nothing is written for a request without a key.
    """
    if not isinstance(problem, Unauthenticated | Forbidden):
        return
    visitor = visitor_of(request)
    if visitor.actor is None:
        return
    services: Services = request.app.state.services
    entry = AuditEntry(
        id=new_id("aud"),
        at=services.now(),
        actor=visitor.actor,
        action=operation_of(request),
        tenant_id=visitor.tenant_id,
        object_id=masked(request.url.path)[:MAX_PATH_CHARACTERS],
        refused_as=problem.slug,
        request_id=request_id.get(),
    )
    try:
        async with services.database.transaction() as connection:
            await audit.record(connection, entry)
    except Unavailable:
        log.warning(
            "could not write a refused request to the audit log", extra={"slug": problem.slug}
        )


def operation_of(request: Request) -> str:
    """The operation's id as the OpenAPI document has it."""
    route = request.scope.get("route")
    return getattr(route, "operation_id", None) or request.method
