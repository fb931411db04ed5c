"""Sign in to the console, and find the session of a request."""

import hmac
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Final, Literal

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.api.services import Services
from app.auth.audit_context import AuditContext
from app.auth.authentication import Visitor
from app.auth.caller import Caller
from app.console.errors import PageError
from app.console.middleware import ConsoleConfig
from app.domain.api_keys import hash_secret
from app.domain.audit import Actor, ActorKind
from app.domain.console_sessions import USE_INTERVAL, ConsoleSession, generate_token
from app.domain.errors import Problem, Unauthenticated
from app.domain.ids import new_id
from app.domain.single_sign_on import AccessRule, Person
from app.store import console_sessions
from app.store.tenants import queries as tenants

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
MAX_TOKEN_CHARACTERS: Final = 64


def cookie_name(config: ConsoleConfig, purpose: str = "session") -> str:
    """Return the name of a cookie (RFC 6265bis section 4.1.3.2)."""
    name = "__Host-heloise" if config.is_secure else "heloise"
    return name if purpose == "session" else f"{name}-{purpose}"


def set_cookie(
    response: Response,
    config: ConsoleConfig,
    value: str,
    *,
    purpose: str = "session",
    seconds: int | None = None,
    samesite: Literal["strict", "lax"] = "strict",
) -> None:
    """Give a cookie to the browser, until the browser ends or for so many seconds; 0 removes it."""
    response.set_cookie(
        cookie_name(config, purpose),
        value,
        max_age=seconds,
        path="/",
        secure=config.is_secure,
        httponly=True,
        samesite=samesite,
    )


def lead_in(config: ConsoleConfig, token: str, target: str = "") -> Response:
    """Lead a user who has signed in to a page of the console, with the session's cookie."""
    home = f"{config.path}/"
    response = RedirectResponse(target if target.startswith(home) else home, 303)
    set_cookie(response, config, token)
    return response


def find_source(request: Request) -> str | None:
    """Return the IP address of the client."""
    return request.client.host if request.client else None


async def sign_in_with_key(
    services: Services, config: ConsoleConfig, request: Request, key: str
) -> str:
    """Exchange a key for a session, and return its token.

    Raises Unauthenticated, TooManyRequests, Forbidden or Unavailable.
    """
    visitor = Visitor(services.auth, key, find_source(request), remedy="enter one")
    try:
        identity = await visitor.identify()
    except Problem as problem:
        await visitor.audit_refusal(
            problem, action="console_sign_in", object_id=f"{config.path}/sign-in"
        )
        raise
    actor = identity if isinstance(identity, Actor) else identity.actor
    now = services.now()
    session = ConsoleSession(
        id=new_id("ses"),
        tenant_id=None if isinstance(identity, Actor) else identity.tenant_id,
        name=actor.name or "",
        key_hash=hash_secret(key),
        issuer=None,
        subject=None,
        scopes=None,
        source=find_source(request),
        created_at=now,
        last_used_at=now,
        expires_at=now + config.session_time,
    )
    return await _start_session(services, session, actor, former=find_token_hash(request, config))


async def sign_in_person(
    services: Services,
    config: ConsoleConfig,
    request: Request,
    person: Person,
    rule: AccessRule,
    former: bytes | None,
) -> str:
    """Start the session of a person to whom a rule gives access, and return its token.

    `former` is the hash of the token that the browser had before. Raises NotFound without the
    rule's tenant, or Unavailable.
    """
    tenant_id = None
    if rule.tenant is not None:
        async with services.database.reading() as connection:
            tenant_id = (await tenants.get(connection, tenant=rule.tenant)).id
    now, session_id = services.now(), new_id("ses")
    session = ConsoleSession(
        id=session_id,
        tenant_id=tenant_id,
        name=person.name,
        key_hash=None,
        issuer=person.issuer,
        subject=person.subject,
        scopes=None if tenant_id is None else rule.scopes,
        source=find_source(request),
        created_at=now,
        last_used_at=now,
        expires_at=now + config.session_time,
    )
    actor = Actor(ActorKind.PERSON, session_id, session.name, session.source)
    details = {"issuer": person.issuer, "subject": person.subject, "scopes": rule.scopes}
    return await _start_session(services, session, actor, details, former=former)


async def _start_session(
    services: Services,
    session: ConsoleSession,
    actor: Actor,
    details: Mapping[str, object] | None = None,
    *,
    former: bytes | None,
) -> str:
    """Store a session with an audit entry, end the browser's former one, and return the token."""
    token = generate_token()
    context = AuditContext(actor=actor, now=session.created_at, tenant_id=session.tenant_id)
    async with services.database.transaction() as connection:
        ended = None
        if former is not None:
            ended = await console_sessions.find_by_token(connection, token_hash=former)
        if ended is not None:
            await console_sessions.remove(
                connection, tenant_id=ended.tenant_id, session_id=ended.id
            )
        await console_sessions.create(connection, session, token_hash=hash_secret(token))
        await context.record(connection, "console_sign_in", object_id=session.id, after=details)
    if ended is not None:
        services.auth.forget_session(ended.id)
    return token


def find_token_hash(request: Request, config: ConsoleConfig) -> bytes | None:
    """Return the hash of the token that a request presents, or None."""
    token = request.cookies.get(cookie_name(config))
    return None if token is None or len(token) > MAX_TOKEN_CHARACTERS else hash_secret(token)


async def find_user(
    services: Services, config: ConsoleConfig, request: Request
) -> tuple[ConsoleSession, Actor | Caller] | None:
    """Return the valid session of a request and what its user is; None if it has none.

    Raises Forbidden from a network in which the key does not work, TooManyRequests or Unavailable.
    """
    session = await find_session(services, config, request)
    if session is None:
        return None
    visitor = Visitor(services.auth, None, find_source(request), session=session)
    try:
        return session, await visitor.identify()
    except Unauthenticated:
        return None


async def find_session(
    services: Services, config: ConsoleConfig, request: Request
) -> ConsoleSession | None:
    """Return the valid session of a request, or None.

    Raises TooManyRequests after too many unknown sessions, or Unavailable.
    """
    token_hash = find_token_hash(request, config)
    if token_hash is None:
        return None
    cache = services.auth.session_cache
    session = cache.get(token_hash) or await cache.read(
        token_hash, partial(_read_session, services, token_hash)
    )
    if session is None:
        services.auth.auth_throttle.record_failure(find_source(request), of="session")
        return None
    now = services.now()
    if not session.is_valid(now, config.idle_time):
        return None
    provider = config.single_sign_on
    if session.key_hash is None and (provider is None or provider.client.issuer != session.issuer):
        return None
    if now >= session.last_used_at + USE_INTERVAL and _is_use(request):
        async with services.database.transaction() as connection:
            await console_sessions.record_use(connection, session_id=session.id, now=now)
        session = replace(session, last_used_at=now)
        cache.keep(token_hash, session)
    return session


async def _read_session(services: Services, token_hash: bytes) -> ConsoleSession | None:
    async with services.database.reading() as connection:
        return await console_sessions.find_by_token(connection, token_hash=token_hash)


def _is_use(request: Request) -> bool:
    """Whether somebody is there: an open page loads its live parts by itself."""
    return "heloise-live" not in request.headers and not request.url.path.endswith("/live")


async def sign_out(services: Services, session: ConsoleSession) -> None:
    """End a session."""
    async with services.database.transaction() as connection:
        await console_sessions.remove(
            connection, tenant_id=session.tenant_id, session_id=session.id
        )
    services.auth.forget_session(session.id)


async def list_own(
    services: Services, config: ConsoleConfig, session: ConsoleSession
) -> list[ConsoleSession]:
    """Return the valid sessions of a session's key or person, newest first."""
    async with services.database.reading() as connection:
        sessions = await console_sessions.list_own(connection, session)
    now = services.now()
    return [session for session in sessions if session.is_valid(now, config.idle_time)]


def derive_csrf_token(request: Request, config: ConsoleConfig) -> str:
    """Derive the token that each form of a session carries."""
    token = request.cookies.get(cookie_name(config), "")
    return sha256(b"csrf " + token.encode()).hexdigest()


def require_same_origin(request: Request) -> None:
    """Raise PageError if another site's page sent the request (Fetch Metadata, RFC 6454)."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        is_own = site in {"same-origin", "none"}
    else:
        origin = request.headers.get("origin")
        is_own = origin is None or origin.partition("://")[2] == request.headers.get("host")
    if not is_own:
        raise PageError(
            403, "Form of another site", "Another site sent this form. Send it again here."
        )


def require_csrf_token(request: Request, config: ConsoleConfig, token: str) -> None:
    """Raise PageError unless a form of the same session sent the request."""
    if not hmac.compare_digest(derive_csrf_token(request, config).encode(), token.encode()):
        raise PageError(
            403,
            "Form of another session",
            "You have signed in again since then. Load the page again.",
        )
