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


def make_visitor(scope: Scope) -> Visitor:
    """Make the visitor of a new request."""
    source = scope["client"][0] if scope.get("client") else None
    return Visitor(scope["app"].state.services.auth, _read_key(scope), source, remedy=REMEDY)


def get_visitor(request: Request) -> Visitor:
    """Return the visitor of a request."""
    visitor: Visitor = getattr(request.state, STATE)
    return visitor


def _read_key(scope: Scope) -> str | None:
    """Read the key from `Authorization: Bearer …` (RFC 6750 section 2.1)."""
    for name, value in scope["headers"]:
        if name == AUTHORIZATION:
            scheme, _, secret = value.partition(b" ")
            return str(secret, "latin-1") or None if scheme.lower() == BEARER else None
    return None


async def audit_refused_request(request: Request, problem: Problem) -> None:
    """Write the refusal of the request's key to the audit log."""
    await get_visitor(request).audit_refusal(
        problem,
        action=get_operation_id(request),
        object_id=mask_addresses(request.url.path)[:MAX_PATH_CHARACTERS],
    )


def get_operation_id(request: Request) -> str:
    """Return the operation id of the OpenAPI document."""
    route = request.scope.get("route")
    return getattr(route, "operation_id", None) or request.method
