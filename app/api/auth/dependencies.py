"""Authorize callers: tenant keys by scope, admin keys for any tenant."""

from typing import Annotated, Final

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.auth.visitors import visitor_of
from app.api.http.repeated_params import check_repeated_params
from app.api.services import Services, require_ready_services
from app.auth.audit import Act
from app.auth.authentication import Visitor
from app.auth.caller import Caller
from app.domain.audit import Actor
from app.domain.errors import FieldError, Forbidden, InvalidRequest
from app.domain.types import Scope, Tenant
from app.store.tenants import queries as tenants

# It names the scheme in the OpenAPI document; the header is read before, with the whole request.
_bearer = HTTPBearer(
    scheme_name="key",
    description="A tenant's key (`hel_…`) reaches only that tenant. An admin key manages tenants"
    " and their keys, and acts for a tenant with the header `Heloise-Tenant`.",
    auto_error=False,
)
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
ActFor = Annotated[
    str | None,
    Header(
        alias="Heloise-Tenant",
        description="The id or slug of the tenant to act for. Required with an admin key; leave it"
        " out with a tenant's key.",
        max_length=63,
    ),
]


async def _identify(request: Request) -> Visitor:
    """Authenticate the visitor; raises InvalidRequest for a repeated query parameter."""
    visitor = visitor_of(request)
    await visitor.identify()
    check_repeated_params(request)
    return visitor


class TenantScope:
    """A dependency: the caller, who may act for a tenant with this scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, request: Request, _: Bearer, act_for: ActFor = None) -> Caller:
        services = await require_ready_services(request)
        return await self.caller(await _identify(request), services, act_for)

    async def caller(self, visitor: Visitor, services: Services, act_for: str | None) -> Caller:
        """The visitor as a caller of a tenant.

        Raises as `Visitor.authorize`; Forbidden for a tenant's key that names another tenant.
        """
        identity = await visitor.identify()
        if isinstance(identity, Actor):
            return Caller(await _load_tenant(services, act_for), identity)
        if act_for is not None and act_for != identity.tenant_id:
            raise Forbidden(
                "admin-only",
                "Only admin keys take the header Heloise-Tenant; a tenant's key acts for its own"
                " tenant. Leave the header out.",
            )
        return await visitor.authorize(self.scope)


async def _require_admin(request: Request, _: Bearer) -> Actor:
    actor = await (await _identify(request)).identify()
    if isinstance(actor, Actor):
        return actor
    raise Forbidden(
        "admin-only",
        "This operation needs an admin key; this is a tenant's key.",
    )


Admin = Annotated[Actor, Depends(_require_admin)]


async def _begin_admin_act(admin: Admin, request: Request) -> Act:
    return Act(actor=admin, now=(await require_ready_services(request)).now())


AdminAct = Annotated[Act, Depends(_begin_admin_act)]
Sender = Annotated[Caller, Depends(TenantScope(Scope.MESSAGES_SEND))]
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


async def _resolve_audited_tenant(
    request: Request, _: Bearer, act_for: ActFor = None
) -> str | None:
    services = await require_ready_services(request)
    visitor = await _identify(request)
    if act_for is None and isinstance(await visitor.identify(), Actor):
        return None
    caller = await KEYS.caller(visitor, services, act_for)
    caller.require_unbound()
    return caller.tenant_id


# The tenant whose log may be read; None for an admin who names none, and reads everybody's.
Auditor = Annotated[str | None, Depends(_resolve_audited_tenant)]


async def _load_tenant(services: Services, act_for: str | None) -> Tenant:
    if act_for is None:
        where = ("header", "Heloise-Tenant")
        raise InvalidRequest(
            "With an admin key, set the header Heloise-Tenant to the id or slug of a tenant.",
            [FieldError(where, "required with an admin key", "missing")],
            "tenant-required",
        )
    async with services.database.reading() as connection:
        return await tenants.get(connection, tenant=act_for)
