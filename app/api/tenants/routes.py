"""Serve `/tenants`: owners of profiles, keys and messages."""

from typing import Annotated, Final

from fastapi import Body as JsonBody
from fastapi import Path, Response

from app.api.auth.dependencies import Admin, AdminAuditContext, ListQuery
from app.api.http.pagination import read_page
from app.api.openapi import describe_location, problems
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices
from app.api.tenants import service as tenant_actions
from app.api.tenants.schemas import TenantCreate, TenantPage, TenantRead, TenantUpdate
from app.store.tenants import queries as tenants

router = Router("Tenants")

LOCATION: Final = "/tenants/ten_0198c5a2d3f07b6e8a4c1d2e3f405162"
InPath = Annotated[str, Path(description="The tenant's id or slug.", examples=["acme"])]


@router.post(
    "/tenants",
    status_code=201,
    summary="Create a tenant",
    response_description="The new tenant.",
    responses=describe_location(LOCATION),
)
@problems("tenant-exists")
async def create_tenant(
    body: Annotated[
        TenantCreate,
        JsonBody(
            openapi_examples={
                "tenant": {
                    "summary": "With an EHLO name for all profiles",
                    "value": {
                        "slug": "acme",
                        "name": "Acme Ltd",
                        "ehlo_name": "mail.example.com",
                    },
                },
                "least": {"summary": "Minimal", "value": {"slug": "beta"}},
            }
        ),
    ],
    response: Response,
    audit_context: AdminAuditContext,
    services: ReadyServices,
) -> TenantRead:
    """Create a tenant. Then create a key for it with `POST /tenants/{tenant}/keys`."""
    async with services.database.transaction() as connection:
        tenant = await tenant_actions.create(connection, audit_context, body)
    response.headers["Location"] = f"{services.admin_prefix}/tenants/{tenant.id}"
    return TenantRead.model_validate(tenant)


@router.get("/tenants", summary="List tenants")
async def list_tenants(paging: ListQuery, _: Admin, services: ReadyServices) -> TenantPage:
    """List all tenants, oldest first."""
    read = TenantRead.model_validate
    return await read_page(services.database, paging, "ten", tenants.page, TenantPage, read)


@router.get("/tenants/{tenant}", summary="Get a tenant")
@problems("tenant-not-found")
async def get_tenant(tenant: InPath, _: Admin, services: ReadyServices) -> TenantRead:
    """Get a tenant by id or slug."""
    async with services.database.reading() as connection:
        return TenantRead.model_validate(await tenants.get(connection, tenant=tenant))


@router.patch("/tenants/{tenant}", summary="Update a tenant")
@problems("tenant-not-found", "tenant-exists")
async def update_tenant(
    tenant: InPath,
    body: Annotated[
        TenantUpdate,
        JsonBody(
            openapi_examples={
                "ehlo_name": {
                    "summary": "Another EHLO name",
                    "value": {"ehlo_name": "mx.example.com"},
                },
                "quota": {
                    "summary": "Quota and allowed senders",
                    "value": {
                        "quota": {"messages_per_day": 10000, "profiles": 10},
                        "allowed_from": ["*@example.com"],
                    },
                },
                "notify": {
                    "summary": "Mail when a profile fails and when it recovers",
                    "value": {"notify": {"profile": "sandbox", "to": ["ops@example.com"]}},
                },
                "no_ehlo_name": {
                    "summary": "Remove the EHLO name",
                    "value": {"ehlo_name": None},
                },
            }
        ),
    ],
    audit_context: AdminAuditContext,
    services: ReadyServices,
) -> TenantRead:
    """Update the given fields. A new `ehlo_name` applies from the next connection on."""
    async with services.database.transaction(announce=True) as connection:
        changed = await tenant_actions.update(connection, audit_context, tenant, body)
    services.auth.forget_tenant(changed.id)
    return TenantRead.model_validate(changed)


@router.delete(
    "/tenants/{tenant}",
    status_code=204,
    summary="Delete a tenant",
    response_description="The tenant and all its data are deleted.",
)
@problems("tenant-not-found", "tenant-not-empty")
async def delete_tenant(
    tenant: InPath, audit_context: AdminAuditContext, services: ReadyServices
) -> None:
    """Delete a tenant, its keys and its history. Refused while it has profiles."""
    async with services.database.transaction() as connection:
        row = await tenant_actions.delete(connection, audit_context, tenant)
    services.auth.forget_tenant(row.id)
