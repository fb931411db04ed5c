"""Who is asking, and for which tenant: a tenant's key with its scopes, or the admin key."""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Final

from fastapi import Depends, Header
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.state import Services, ServicesOf
from app.domain.errors import FieldError, Forbidden, InvalidRequest, Unauthenticated
from app.domain.keys import hash_of
from app.domain.types import ApiKey, Scope
from app.store import api_keys, tenants

_bearer = HTTPBearer(
    scheme_name="key",
    description="A tenant's key (`hel_…`) works on that tenant alone. The admin key manages tenants"
    " and their keys, and acts for a tenant with the header `Heloise-Tenant`.",
    auto_error=False,
)
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
ActFor = Annotated[
    str | None,
    Header(
        alias="Heloise-Tenant",
        description="With the admin key: the tenant to act for, by id or slug. A tenant's key"
        " needs no such header.",
        max_length=63,
    ),
]

# Who may change something may also look at it.
IMPLIED: Final[Mapping[Scope, Scope]] = {
    Scope.MESSAGES_READ: Scope.MESSAGES_MANAGE,
    Scope.PROFILES_READ: Scope.PROFILES_MANAGE,
}


class TenantScope:
    """A dependency: the id of the tenant that the caller may act for with this scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, services: ServicesOf, bearer: Bearer, act_for: ActFor = None) -> str:
        secret = _secret(bearer)
        if is_admin_key(secret, services.admin_key):
            return await _acted_for(services, act_for)
        key = await _tenant_key(services, secret)
        if act_for is not None and act_for != key.tenant_id:
            raise Forbidden(
                "admin-only",
                "The header Heloise-Tenant goes with the admin key; a tenant's key acts for its"
                " own tenant. Leave the header out.",
            )
        self._check(key)
        return key.tenant_id

    def known(self, services: Services, secret: str) -> str | None:
        """The tenant of a key that was seen lately and may do this; None says nothing of why."""
        key, now = services.keys.get(hash_of(secret)), services.now()
        if key is None or not key.is_valid(now) or not self._is_held_by(key):
            return None
        services.keys.mark_used(key.id, now)
        return key.tenant_id

    def _is_held_by(self, key: ApiKey) -> bool:
        return self.scope in key.scopes or IMPLIED.get(self.scope) in key.scopes

    def _check(self, key: ApiKey) -> None:
        if self._is_held_by(key):
            return
        held = ", ".join(sorted(key.scopes)) or "none"
        raise Forbidden("scope-missing", f"This key lacks the scope {self.scope}; it has {held}.")


async def _admin(services: ServicesOf, bearer: Bearer) -> None:
    secret = _secret(bearer)
    if is_admin_key(secret, services.admin_key):
        return
    await _tenant_key(services, secret)
    raise Forbidden(
        "admin-only",
        "Tenants and their keys are managed with the admin key; this is a tenant's key.",
    )


Admin = Depends(_admin)
SENDING: Final = TenantScope(Scope.MESSAGES_SEND)
Sender = Annotated[str, Depends(SENDING)]
MessageReader = Annotated[str, Depends(TenantScope(Scope.MESSAGES_READ))]
MessageManager = Annotated[str, Depends(TenantScope(Scope.MESSAGES_MANAGE))]
ProfileReader = Annotated[str, Depends(TenantScope(Scope.PROFILES_READ))]
ProfileManager = Annotated[str, Depends(TenantScope(Scope.PROFILES_MANAGE))]


def is_admin_key(secret: str, admin_key: str | None) -> bool:
    """Whether it is the admin key, in a time that says nothing of how much of it is right."""
    if admin_key is None:
        return False
    given, wanted = sha256(secret.encode()), sha256(admin_key.encode())
    return hmac.compare_digest(given.digest(), wanted.digest())


def _secret(bearer: HTTPAuthorizationCredentials | None) -> str:
    if bearer is None:
        raise Unauthenticated("This needs a key: send the header `Authorization: Bearer <key>`.")
    return bearer.credentials


async def _acted_for(services: Services, act_for: str | None) -> str:
    if act_for is None:
        where = ("header", "Heloise-Tenant")
        raise InvalidRequest(
            "The admin key acts for a tenant: name it, by id or slug, in the header"
            " Heloise-Tenant.",
            [FieldError(where, "this is required with the admin key", "missing")],
            "tenant-required",
        )
    async with services.database.reading() as connection:
        return (await tenants.get(connection, tenant=act_for)).id


async def _tenant_key(services: Services, secret: str) -> ApiKey:
    """The key, valid now; read from the database where it was not seen for a few seconds."""
    key_hash, now = hash_of(secret), services.now()
    key = services.keys.get(key_hash)
    if key is None:
        async with services.database.reading() as connection:
            key = await api_keys.find_by_hash(connection, hash=key_hash)
        if key is not None:
            services.keys.put(key_hash, key)
    if key is None or not key.is_valid(now):
        raise Unauthenticated(
            "This key opens nothing: it is unknown, revoked or expired. Check for a key that was"
            " cut short, or have a new one made."
        )
    services.keys.mark_used(key.id, now)
    return key
