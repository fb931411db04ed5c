"""Authenticate a request before its body is received."""

import hmac
import ipaddress
from collections.abc import Mapping
from functools import lru_cache, partial
from hashlib import sha256
from typing import Final

from fastapi import Request
from starlette.types import Scope

from app.api.auth.caller import Caller
from app.api.cache.key_cache import Known
from app.api.services import Services
from app.domain.api_keys import hash_of, hint_of, looks_like_one
from app.domain.audit import Actor, ActorKind
from app.domain.errors import Forbidden, Problem, Unauthenticated, Unavailable
from app.domain.networks import IPNetwork, unmapped
from app.store import api_keys
from app.store.tenants import queries as tenants

STATE: Final = "visitor"
AUTHORIZATION: Final = b"authorization"
BEARER: Final = b"bearer"


class Visitor:
    """Somebody who sends a request: known by a key, or refused, once for the whole request.

    `actor` is who the audit log names if they are refused: nobody, where they send no key.
    """

    def __init__(self, services: Services, scope: Scope) -> None:
        self._services = services
        self._scope = scope
        self._known: Actor | Caller | None = None
        self._problem: Problem | None = None
        self.source: str | None = scope["client"][0] if scope.get("client") else None
        self.actor: Actor | None = None
        self.tenant_id: str | None = None

    async def known(self) -> Actor | Caller:
        """The admin, or the tenant's caller.

        Raises Unauthenticated, TooManyRequests for a wrong key of a source that guesses, Forbidden
        for a key that is not for use from there, or Unavailable.
        """
        if self._problem is not None:
            raise self._problem
        if self._known is None:
            try:
                self._known = await self._look_up()
            except Problem as problem:
                self._problem = problem
                raise
        return self._known

    async def _look_up(self) -> Actor | Caller:
        services, source = self._services, self.source
        if reason := services.schema_fault():
            raise Unavailable("not-ready", reason)
        secret = bearer_of(self._scope)
        if secret is None:
            raise Unauthenticated(
                "This request needs a key: send the header `Authorization: Bearer <key>`."
            )
        key_hash = hash_of(secret)
        key = services.keys.get(key_hash)
        if key is None and (name := admin_name(secret, services.admin_keys)) is not None:
            self.actor = Actor(ActorKind.ADMIN, name=name, source=source)
            return self.actor
        key = key or await services.keys.read(key_hash, partial(_read_key, services, key_hash))
        now = services.now()
        if key is None or not key.key.is_valid(now):
            services.guesses.wrong(source)
            hint = hint_of(secret) if looks_like_one(secret) else None
            self.actor = Actor(ActorKind.UNKNOWN, name=hint, source=source)
            raise Unauthenticated(
                "This key is unknown, revoked or expired. Check that you copied it completely, or"
                " create a new one."
            )
        caller = _build_caller(key, source)
        self.actor, self.tenant_id = caller.actor, caller.tenant_id
        if not _is_from(key.key.networks, source):
            raise Forbidden(
                "network-not-allowed",
                f"This key works only from {', '.join(key.key.networks)}, and the request came"
                f" from {source}. Behind a proxy, add the proxy to HELOISE_TRUSTED_PROXIES.",
            )
        services.keys.mark_used(key.key.id, now)
        return caller


def visitor_of(request: Request) -> Visitor:
    """Who sent a request."""
    visitor: Visitor = getattr(request.state, STATE)
    return visitor


def bearer_of(scope: Scope) -> str | None:
    """What stands in the request's `Authorization: Bearer …` (RFC 6750 section 2.1), if it does."""
    for name, value in scope["headers"]:
        if name == AUTHORIZATION:
            scheme, _, secret = value.partition(b" ")
            return str(secret, "latin-1") or None if scheme.lower() == BEARER else None
    return None


def admin_name(secret: str, admin_keys: Mapping[str, str]) -> str | None:
    """Whose admin key it is, in a time that says nothing of how much of it is right."""
    digest, matched_name = sha256(secret.encode()).digest(), None
    for name, key in admin_keys.items():
        if hmac.compare_digest(digest, sha256(key.encode()).digest()):
            matched_name = name
    return matched_name


async def _read_key(services: Services, key_hash: bytes) -> Known | None:
    async with services.database.reading() as connection:
        key = await api_keys.find_by_hash(connection, hash=key_hash)
        if key is None:
            return None
        return Known(key, await tenants.get(connection, tenant=key.tenant_id))


def _build_caller(key_and_tenant: Known, source: str | None) -> Caller:
    key, tenant = key_and_tenant
    return Caller(tenant, Actor(ActorKind.KEY, key.id, key.name, source), key)


def _is_from(networks: tuple[str, ...], source: str | None) -> bool:
    if not networks:
        return True
    try:
        address = ipaddress.ip_address(source or "")
    except ValueError:
        return False
    address = unmapped(address)
    return any(address in network for network in _parse_networks(networks))


@lru_cache(maxsize=1024)
def _parse_networks(networks: tuple[str, ...]) -> tuple[IPNetwork, ...]:
    return tuple(map(ipaddress.ip_network, networks))
