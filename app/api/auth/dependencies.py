"""Authorize callers: tenant keys by scope, admin keys for any tenant."""

from typing import Annotated, Final

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.auth.visitors import get_visitor
from app.api.http.repeated_params import check_repeated_params
from app.api.services import Services, require_ready_services
from app.auth.audit_context import AuditContext
from app.auth.authentication import Visitor
from app.auth.caller import Caller
from app.domain.audit import Actor
from app.domain.errors import FieldError, Forbidden, InvalidRequest
from app.domain.types import Scope, Tenant
from app.store.tenants import queries as tenants

# Only documents the scheme in OpenAPI; `app/api/auth/visitors.py` reads the header.
_bearer = HTTPBearer(
    scheme_name="key",
    description="A tenant's key (`hel_…`) reaches only that tenant. An admin key manages tenants"
    " and their keys, and acts for a tenant with the header `Heloise-Tenant`.",
    auto_error=False,
)
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
TenantHeader = Annotated[
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
    visitor = get_visitor(request)
    await visitor.identify()
    check_repeated_params(request)
    return visitor


class TenantScope:
    """Dependency that returns the caller if it may use this scope for a tenant."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(
        self, request: Request, _: Bearer, tenant_header: TenantHeader = None
    ) -> Caller:
        services = await require_ready_services(request)
        return await self.caller(await _identify(request), services, tenant_header)

    async def caller(
        self, visitor: Visitor, services: Services, tenant_header: str | None
    ) -> Caller:
        """Return the caller of a tenant.

        Raises like `Visitor.authorize`; Forbidden for a tenant's key with another tenant's header.
        """
        identity = await visitor.identify()
        if isinstance(identity, Actor):
            tenant = await _load_tenant(services, tenant_header)
            return Caller(
                tenant,
                identity,
                message_source=visitor.message_source,
                client_address=visitor.client_address,
            )
        if tenant_header is not None and tenant_header != identity.tenant_id:
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


async def _make_admin_context(admin: Admin, request: Request) -> AuditContext:
    return AuditContext(actor=admin, now=(await require_ready_services(request)).now())


AdminAuditContext = Annotated[AuditContext, Depends(_make_admin_context)]
Sender = Annotated[Caller, Depends(TenantScope(Scope.MESSAGES_SEND))]
MESSAGE_READS: Final = TenantScope(Scope.MESSAGES_READ)
MessageReader = Annotated[Caller, Depends(MESSAGE_READS)]
MessageManager = Annotated[Caller, Depends(TenantScope(Scope.MESSAGES_MANAGE))]
ProfileReader = Annotated[Caller, Depends(TenantScope(Scope.PROFILES_READ))]
ProfileManager = Annotated[Caller, Depends(TenantScope(Scope.PROFILES_MANAGE))]
SuppressionManager = Annotated[Caller, Depends(TenantScope(Scope.SUPPRESSIONS_MANAGE))]
EventReader = Annotated[Caller, Depends(TenantScope(Scope.EVENTS_READ))]
TemplateManager = Annotated[Caller, Depends(TenantScope(Scope.TEMPLATES_MANAGE))]
WebhookManager = Annotated[Caller, Depends(TenantScope(Scope.WEBHOOKS_MANAGE))]
KEYS: Final = TenantScope(Scope.KEYS_MANAGE)
KeyManager = Annotated[Caller, Depends(KEYS)]


async def _find_caller(
    scope: TenantScope, request: Request, tenant_header: str | None
) -> Caller | None:
    """Return the caller; None for an admin without a tenant, who reads all tenants' rows."""
    services = await require_ready_services(request)
    visitor = await _identify(request)
    if tenant_header is None and isinstance(await visitor.identify(), Actor):
        return None
    return await scope.caller(visitor, services, tenant_header)


async def _resolve_audited_tenant(
    request: Request, _: Bearer, tenant_header: TenantHeader = None
) -> str | None:
    caller = await _find_caller(KEYS, request, tenant_header)
    if caller is None:
        return None
    caller.require_unbound()
    return caller.tenant_id


async def _resolve_session_manager(
    request: Request, _: Bearer, tenant_header: TenantHeader = None
) -> AuditContext:
    caller = await _find_caller(KEYS, request, tenant_header)
    now = (await require_ready_services(request)).now()
    if caller is not None:
        caller.require_unbound()
        return caller.audit_context(now)
    return AuditContext(actor=await _require_admin(request, None), now=now)


async def _resolve_message_reader(
    request: Request, _: Bearer, tenant_header: TenantHeader = None
) -> Caller | None:
    return await _find_caller(MESSAGE_READS, request, tenant_header)


# The tenant whose log the caller may read; None for an admin without a tenant, who reads all.
Auditor = Annotated[str | None, Depends(_resolve_audited_tenant)]
# The caller's tenant, whose sessions of the console it may end; None for an admin without a tenant.
SessionManager = Annotated[AuditContext, Depends(_resolve_session_manager)]
# None is an admin without a tenant, who reads all sessions.
SubmissionReader = Annotated[Caller | None, Depends(_resolve_message_reader)]
# None is an admin without a tenant, who reads all tenants' queue.
QueueReader = Annotated[Caller | None, Depends(_resolve_message_reader)]


async def _load_tenant(services: Services, tenant_header: str | None) -> Tenant:
    if tenant_header is None:
        where = ("header", "Heloise-Tenant")
        raise InvalidRequest(
            "With an admin key, set the header Heloise-Tenant to the id or slug of a tenant.",
            [FieldError(where, "required with an admin key", "missing")],
            "tenant-required",
        )
    async with services.database.reading() as connection:
        return await tenants.get(connection, tenant=tenant_header)
