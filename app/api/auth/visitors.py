"""Read the key of an HTTP request, and write refused requests to the audit log."""

from typing import Final

from fastapi import Request
from starlette.types import Scope

from app.auth.authentication import Visitor
from app.domain.address.parse import mask_addresses
from app.domain.errors import Problem

STATE: Final = "visitor"
AUTHORIZATION: Final = b"authorization"
BEARER: Final = b"bearer"
REMEDY: Final = "send the header `Authorization: Bearer <key>`"
MAX_PATH_CHARACTERS: Final = 255


def new_visitor(scope: Scope) -> Visitor:
    """The visitor of a new request."""
    source = scope["client"][0] if scope.get("client") else None
    return Visitor(scope["app"].state.services.auth, _read_key(scope), source, remedy=REMEDY)


def visitor_of(request: Request) -> Visitor:
    """Who sent a request."""
    visitor: Visitor = getattr(request.state, STATE)
    return visitor


def _read_key(scope: Scope) -> str | None:
    """What stands in the request's `Authorization: Bearer …` (RFC 6750 section 2.1), if it does."""
    for name, value in scope["headers"]:
        if name == AUTHORIZATION:
            scheme, _, secret = value.partition(b" ")
            return str(secret, "latin-1") or None if scheme.lower() == BEARER else None
    return None


async def note_refusal(request: Request, problem: Problem) -> None:
    """Write to the audit log that the request's key was refused."""
    await visitor_of(request).audit_refusal(
        problem,
        action=operation_of(request),
        object_id=mask_addresses(request.url.path)[:MAX_PATH_CHARACTERS],
    )


def operation_of(request: Request) -> str:
    """The operation's id as the OpenAPI document has it."""
    route = request.scope.get("route")
    return getattr(route, "operation_id", None) or request.method
