"""Read the key of an HTTP request, and write refused requests to the audit log."""

from typing import Final

from fastapi import Request
from starlette.types import Scope

from app.api.http.asgi_scope import SESSION, SOURCE
from app.auth.authentication import Authenticator, Visitor
from app.auth.email_provider_visitor import ProviderVisitor
from app.domain.address.parse import mask_addresses
from app.domain.errors import NotFound, Problem
from app.domain.inbound.provider import POST_PATH, Provider, hide_token
from app.domain.types import MessageSource

STATE: Final = "visitor"
REMEDY: Final = "send the header `Authorization: Bearer <key>`"
MAX_PATH_CHARACTERS: Final = 255
READING_METHODS: Final = frozenset({"GET", "HEAD"})


def make_visitor(scope: Scope) -> Visitor | ProviderVisitor:
    """Make the visitor of a new request."""
    source = scope["client"][0] if scope.get("client") else None
    auth: Authenticator = scope["app"].state.services.auth
    if (match := POST_PATH.fullmatch(scope["path"])) is not None:
        return ProviderVisitor(auth, Provider(match[1]), match[2], source)
    return Visitor(
        auth,
        _read_key(scope),
        source,
        remedy=REMEDY,
        message_source=scope.get(SOURCE, MessageSource.API),
        session=scope.get(SESSION),
        # Open pages of the console refresh themselves: they must not slow down senders.
        is_counted=SESSION not in scope or scope["method"] not in READING_METHODS,
    )


def get_visitor(request: Request) -> Visitor:
    """Return the visitor of a request."""
    visitor: Visitor = getattr(request.state, STATE)
    return visitor


def get_provider_visitor(request: Request, provider: str) -> ProviderVisitor:
    """Return the visitor of a provider's request; raises NotFound for an unknown provider."""
    visitor = getattr(request.state, STATE)
    if isinstance(visitor, ProviderVisitor):
        return visitor
    detail = f"Heloise reads no webhooks of {provider!r}; use one of {', '.join(Provider)}."
    raise NotFound("provider", detail=detail)


def _read_key(scope: Scope) -> str | None:
    """Read the key from `Authorization: Bearer …` (RFC 6750 section 2.1)."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, secret = value.partition(b" ")
            return str(secret, "latin-1") or None if scheme.lower() == b"bearer" else None
    return None


async def audit_refused_request(request: Request, problem: Problem) -> None:
    """Write the refusal of the request's key to the audit log."""
    await get_visitor(request).audit_refusal(
        problem,
        action=getattr(request.scope.get("route"), "unique_id", request.method),
        object_id=mask_addresses(hide_token(request.url.path))[:MAX_PATH_CHARACTERS],
    )
