"""Who is asking, and for which tenant: a tenant's key with its scopes, or an admin key."""

import hmac
import ipaddress
from collections.abc import Mapping
from functools import lru_cache, partial
from hashlib import sha256
from typing import Annotated, Final

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.auditing import Act
from app.api.callers import Caller, act_of, source_of
from app.api.key_cache import Known
from app.api.quotas import check_rate
from app.api.refusals import note_actor
from app.api.state import Services, ServicesOf
from app.domain.audit import Actor, ActorKind
from app.domain.errors import FieldError, Forbidden, InvalidRequest, Unauthenticated
from app.domain.keys import hash_of, hint_of, looks_like_one
from app.domain.networks import IPNetwork, unmapped
from app.domain.types import ApiKey, Scope, Tenant
from app.store import api_keys, tenants

_bearer = HTTPBearer(
    scheme_name="key",
    description="A tenant's key (`hel_…`) works on that tenant alone. An admin key manages tenants"
    " and their keys, and acts for a tenant with the header `Heloise-Tenant`.",
    auto_error=False,
)
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
ActFor = Annotated[
    str | None,
    Header(
        alias="Heloise-Tenant",
        description="With an admin key: the tenant to act for, by id or slug. A tenant's key"
        " needs no such header.",
        max_length=63,
    ),
]


class TenantScope:
    """A dependency: the caller, who may act for a tenant with this scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(
        self, request: Request, services: ServicesOf, bearer: Bearer, act_for: ActFor = None
    ) -> Caller:
        known = await _known(request, services, bearer)
        return await self.caller(known, services, act_for)

    async def caller(
        self, known: Actor | Caller, services: Services, act_for: str | None
    ) -> Caller:
        """Whoever is known as the caller.

        Raises Forbidden where the key does not reach so far, TooManyRequests where the tenant has
        made all of its requests of this second.
        """
        if isinstance(known, Actor):
            return Caller(await _acted_for(services, act_for), known)
        if act_for is not None and act_for != known.tenant_id:
            raise Forbidden(
                "admin-only",
                "The header Heloise-Tenant goes with an admin key; a tenant's key acts for its"
                " own tenant. Leave the header out.",
            )
        self.check(known.key)
        check_rate(known.tenant, services.requests)
        return known

    async def known(self, services: Services, secret: str, source: str | None) -> Caller | None:
        """The caller by a key that may do this; None says nothing of why.

        Raises TooManyRequests as `caller` does, and for a source that guesses, or Unavailable.
        """
        key_hash = hash_of(secret)
        kept, now = services.keys.get(key_hash), services.now()
        if kept is None:
            services.guesses.check(source, key_hash)
        known = kept or await _stored(services, key_hash)
        if known is None or not known.key.is_valid(now) or not known.key.holds(self.scope):
            return None
        if not _is_from(known.key.networks, source):
            return None
        if kept is None:
            services.guesses.right(source, key_hash)
        check_rate(known.tenant, services.requests)
        services.keys.mark_used(known.key.id, now)
        return _caller(known, source)

    def check(self, key: ApiKey | None) -> None:
        """Raise Forbidden where a key may not do this; an admin, who has none, may."""
        if key is None or key.holds(self.scope):
            return
        held = ", ".join(sorted(key.scopes)) or "none"
        raise Forbidden("scope-missing", f"This key lacks the scope {self.scope}; it has {held}.")


async def _admin(request: Request, services: ServicesOf, bearer: Bearer) -> Actor:
    known = await _known(request, services, bearer)
    if isinstance(known, Actor):
        return known
    raise Forbidden(
        "admin-only",
        "Tenants and their keys are managed with an admin key; this is a tenant's key.",
    )


Admin = Annotated[Actor, Depends(_admin)]


async def _admins_act(admin: Admin, services: ServicesOf) -> Act:
    return act_of(admin, services)


AdminAct = Annotated[Act, Depends(_admins_act)]
SENDING: Final = TenantScope(Scope.MESSAGES_SEND)
Sender = Annotated[Caller, Depends(SENDING)]
MessageReader = Annotated[Caller, Depends(TenantScope(Scope.MESSAGES_READ))]
MessageManager = Annotated[Caller, Depends(TenantScope(Scope.MESSAGES_MANAGE))]
ProfileReader = Annotated[Caller, Depends(TenantScope(Scope.PROFILES_READ))]
ProfileManager = Annotated[Caller, Depends(TenantScope(Scope.PROFILES_MANAGE))]
SuppressionManager = Annotated[Caller, Depends(TenantScope(Scope.SUPPRESSIONS_MANAGE))]
EventReader = Annotated[Caller, Depends(TenantScope(Scope.EVENTS_READ))]
TemplateManager = Annotated[Caller, Depends(TenantScope(Scope.TEMPLATES_MANAGE))]
WebhookManager = Annotated[Caller, Depends(TenantScope(Scope.WEBHOOKS_MANAGE))]
KEYS: Final = TenantScope(Scope.KEYS_MANAGE)
KeyManager = Annotated[Caller, Depends(KEYS)]


async def _auditor(
    request: Request, services: ServicesOf, bearer: Bearer, act_for: ActFor = None
) -> str | None:
    known = await _known(request, services, bearer)
    if isinstance(known, Actor) and act_for is None:
        return None
    caller = await KEYS.caller(known, services, act_for)
    caller.require_unbound()
    return caller.tenant_id


# The tenant whose log may be read; None for an admin who names none, and reads everybody's.
Auditor = Annotated[str | None, Depends(_auditor)]


async def _known(
    request: Request, services: Services, bearer: HTTPAuthorizationCredentials | None
) -> Actor | Caller:
    """The admin, or the tenant's caller, whose request it is; the log of refusals is told.

    Raises Unauthenticated, or TooManyRequests for a source that guesses, or Forbidden for a key
    that is not for use from there.
    """
    source = source_of(request)
    secret = bearer.credentials if bearer is not None else None
    hint = hint_of(secret) if secret is not None and looks_like_one(secret) else None
    note_actor(request, Actor(ActorKind.UNKNOWN, name=hint, source=source))
    key_hash = hash_of(secret) if secret is not None else None
    known = services.keys.get(key_hash) if key_hash is not None else None
    if known is None:
        services.guesses.check(source, key_hash)
    if secret is None or key_hash is None:
        services.guesses.wrong(source)
        raise Unauthenticated("This needs a key: send the header `Authorization: Bearer <key>`.")
    if known is None and (name := admin_name(secret, services.admin_keys)) is not None:
        services.guesses.right(source, key_hash)
        admin = Actor(ActorKind.ADMIN, name=name, source=source)
        note_actor(request, admin)
        return admin
    known = known or await _stored(services, key_hash)
    now = services.now()
    if known is None or not known.key.is_valid(now):
        services.guesses.wrong(source)
        raise Unauthenticated(
            "This key opens nothing: it is unknown, revoked or expired. Check for a key that was"
            " cut short, or have a new one made."
        )
    services.guesses.right(source, key_hash)
    caller = _caller(known, source)
    note_actor(request, caller.actor, caller.tenant_id)
    if not _is_from(known.key.networks, source):
        raise Forbidden(
            "network-not-allowed",
            f"This key is for use from {', '.join(known.key.networks)}, and the request came from"
            f" {source}. Behind a proxy, HELOISE_TRUSTED_PROXIES is to name it.",
        )
    services.keys.mark_used(known.key.id, now)
    return caller


async def _stored(services: Services, key_hash: bytes) -> Known | None:
    """The key as the database has it, kept for the next requests."""
    return await services.keys.read(key_hash, partial(_read, services, key_hash))


async def _read(services: Services, key_hash: bytes) -> Known | None:
    async with services.database.reading() as connection:
        key = await api_keys.find_by_hash(connection, hash=key_hash)
        if key is None:
            return None
        return Known(key, await tenants.get(connection, tenant=key.tenant_id))


def _caller(known: Known, source: str | None) -> Caller:
    key, tenant = known
    return Caller(tenant, Actor(ActorKind.KEY, key.id, key.name, source), key)


def admin_name(secret: str, admin_keys: Mapping[str, str]) -> str | None:
    """Whose admin key it is, in a time that says nothing of how much of it is right."""
    given, found = sha256(secret.encode()).digest(), None
    for name, key in admin_keys.items():
        if hmac.compare_digest(given, sha256(key.encode()).digest()):
            found = name
    return found


def _is_from(networks: tuple[str, ...], source: str | None) -> bool:
    if not networks:
        return True
    try:
        address = ipaddress.ip_address(source or "")
    except ValueError:
        return False
    address = unmapped(address)
    return any(address in network for network in _parsed(networks))


@lru_cache(maxsize=1024)
def _parsed(networks: tuple[str, ...]) -> tuple[IPNetwork, ...]:
    return tuple(map(ipaddress.ip_network, networks))


async def _acted_for(services: Services, act_for: str | None) -> Tenant:
    if act_for is None:
        where = ("header", "Heloise-Tenant")
        raise InvalidRequest(
            "An admin key acts for a tenant: name it, by id or slug, in the header Heloise-Tenant.",
            [FieldError(where, "this is required with an admin key", "missing")],
            "tenant-required",
        )
    async with services.database.reading() as connection:
        return await tenants.get(connection, tenant=act_for)
