"""Authorize callers: tenant keys by scope, admin keys for any tenant."""

from typing import Annotated, Final, get_origin

from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.api.auth.visitors import get_visitor
from app.api.http.field_errors import build_invalid_request
from app.api.http.pagination import Paging
from app.api.services import Services, require_ready_services
from app.auth.audit_context import AuditContext
from app.auth.caller import Caller
from app.domain.audit import Actor
from app.domain.errors import FieldError, Forbidden, InvalidRequest
from app.domain.types import Scope, Tenant
from app.store.tenants import queries as tenants

TENANT_HEADER: Final = "Heloise-Tenant"
MAX_TENANT_CHARACTERS: Final = 63
# The part of a list that a route returns.
ListQuery = Annotated[Paging, Query()]


async def _identify(request: Request) -> Actor | Caller:
    """Authenticate the visitor; raises InvalidRequest for a repeated query parameter."""
    identity = await get_visitor(request).identify()
    _check_repeated_params(request)
    return identity


def _check_repeated_params(request: Request) -> None:
    """Raise InvalidRequest if a single-valued parameter is repeated.

    FastAPI would silently use the last value.
    """
    names = [name for name, _ in request.query_params.multi_items()]
    if len(names) == len(set(names)):
        return
    for name in sorted(_list_single_params(request.scope["route"])):
        if names.count(name) > 1:
            msg = "this parameter is in the URL more than once; write it once"
            raise InvalidRequest.in_query(name, msg)


def _list_single_params(route: APIRoute) -> frozenset[str]:
    """List the query parameters of a route that take one value."""
    return frozenset(
        name
        for name, field in _map_fields(route.dependant).items()
        if get_origin(field.annotation) is not list
    )


def _map_fields(dependant: Dependant) -> dict[str, FieldInfo]:
    fields = dict[str, FieldInfo]()
    for param in dependant.query_params:
        kind = param.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields |= kind.model_fields
        else:
            fields[param.alias] = param.field_info
    for dependency in dependant.dependencies:
        fields |= _map_fields(dependency)
    return fields


class TenantScope:
    """Dependency that returns the caller if it may use this scope for a tenant.

    With `is_unbound`, its key must not be bound to profiles: the operation concerns all profiles.
    With `is_tenant_optional`, it returns None for an admin without a tenant, who reads all tenants'
    rows.
    """

    def __init__(
        self, scope: Scope, *, is_unbound: bool = False, is_tenant_optional: bool = False
    ) -> None:
        self.scope = scope
        self.is_unbound = is_unbound
        self._is_tenant_optional = is_tenant_optional

    async def __call__(self, request: Request) -> Caller | None:
        """Return the caller.

        Raises like `Visitor.authorize`; Forbidden for a tenant's key with another tenant's header.
        """
        services = await require_ready_services(request)
        identity, visitor = await _identify(request), get_visitor(request)
        tenant_header = _read_tenant_header(request)
        if isinstance(identity, Actor):
            if tenant_header is None and self._is_tenant_optional:
                return None
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
        caller = await visitor.authorize(self.scope)
        if self.is_unbound:
            caller.require_unbound()
        return caller


async def require_admin(request: Request) -> Actor:
    """Return the admin; raises Forbidden for a tenant's key."""
    actor = await _identify(request)
    if isinstance(actor, Actor):
        return actor
    raise Forbidden(
        "admin-only",
        "This operation needs an admin key; this is a tenant's key.",
    )


Admin = Annotated[Actor, Depends(require_admin)]


async def _make_admin_context(admin: Admin, request: Request) -> AuditContext:
    return AuditContext(actor=admin, now=(await require_ready_services(request)).now())


AdminAuditContext = Annotated[AuditContext, Depends(_make_admin_context)]
Sender = Annotated[Caller, Depends(TenantScope(Scope.MESSAGES_SEND))]
MessageReader = Annotated[Caller, Depends(TenantScope(Scope.MESSAGES_READ))]
MessageManager = Annotated[Caller, Depends(TenantScope(Scope.MESSAGES_MANAGE))]
UnboundMessageManager = Annotated[
    Caller, Depends(TenantScope(Scope.MESSAGES_MANAGE, is_unbound=True))
]
ProfileReader = Annotated[Caller, Depends(TenantScope(Scope.PROFILES_READ))]
ProfileManager = Annotated[Caller, Depends(TenantScope(Scope.PROFILES_MANAGE))]
UnboundProfileManager = Annotated[
    Caller, Depends(TenantScope(Scope.PROFILES_MANAGE, is_unbound=True))
]
SuppressionManager = Annotated[
    Caller, Depends(TenantScope(Scope.SUPPRESSIONS_MANAGE, is_unbound=True))
]
EventReader = Annotated[Caller, Depends(TenantScope(Scope.EVENTS_READ))]
TemplateManager = Annotated[Caller, Depends(TenantScope(Scope.TEMPLATES_MANAGE, is_unbound=True))]
WebhookManager = Annotated[Caller, Depends(TenantScope(Scope.WEBHOOKS_MANAGE, is_unbound=True))]
KeyManager = Annotated[Caller, Depends(TenantScope(Scope.KEYS_MANAGE))]
# None is an admin without a tenant, who reads all tenants' rows.
Auditor = Annotated[
    Caller | None,
    Depends(TenantScope(Scope.KEYS_MANAGE, is_unbound=True, is_tenant_optional=True)),
]
QueueReader = Annotated[
    Caller | None, Depends(TenantScope(Scope.MESSAGES_READ, is_tenant_optional=True))
]
SubmissionReader = QueueReader


async def _make_session_context(caller: Auditor, request: Request) -> AuditContext:
    now = (await require_ready_services(request)).now()
    if caller is not None:
        return caller.audit_context(now)
    return AuditContext(actor=await require_admin(request), now=now)


# Whose sessions of the console the caller may end: its tenant's; an admin's without a tenant.
SessionManager = Annotated[AuditContext, Depends(_make_session_context)]


def _read_tenant_header(request: Request) -> str | None:
    # A parameter of the dependency would cost every start and every request its model.
    tenant = request.headers.get(TENANT_HEADER)
    if tenant is not None and len(tenant) > MAX_TENANT_CHARACTERS:
        msg = f"String should have at most {MAX_TENANT_CHARACTERS} characters"
        error = FieldError(("header", TENANT_HEADER), msg, "string_too_long")
        raise build_invalid_request([error])
    return tenant


async def _load_tenant(services: Services, tenant_header: str | None) -> Tenant:
    if tenant_header is None:
        where = ("header", TENANT_HEADER)
        raise InvalidRequest(
            "With an admin key, set the header Heloise-Tenant to the id or slug of a tenant.",
            [FieldError(where, "required with an admin key", "missing")],
            "tenant-required",
        )
    async with services.database.reading() as connection:
        return await tenants.get(connection, tenant=tenant_header)
