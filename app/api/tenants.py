"""`/tenants`: who owns profiles, keys and messages."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Response
from fastapi import Body as JsonBody
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import Admin
from app.api.bodies import Body, EhloName, Line
from app.api.openapi import admin_problems, located
from app.api.paging import ListQuery, Page, cut, start
from app.api.rate_limits import RateLimit, RateLimitRead
from app.api.state import ServicesOf
from app.domain.errors import InvalidRequest
from app.domain.ids import new_id
from app.domain.types import Tenant
from app.store import tenants
from app.store.rate_columns import rate_columns

router = APIRouter(tags=["Tenants"], dependencies=[Admin])

EXAMPLE: Final[dict[str, Any]] = {
    "id": "ten_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "slug": "acme",
    "name": "Acme Ltd",
    "ehlo_name": "mail.example.com",
    "rate_limit": None,
    "created_at": "2026-01-15T09:30:00Z",
    "updated_at": "2026-01-15T09:30:00Z",
}
LOCATION: Final = "/tenants/ten_0198c5a2d3f07b6e8a4c1d2e3f405162"

Slug = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="A short name, unique: 1 to 63 of a-z, 0-9 and inner hyphens.",
        examples=["acme"],
    ),
]
Name = Annotated[Line, Field(min_length=1, max_length=200, description="A name for people.")]
TenantEhlo = Annotated[
    EhloName | None,
    Field(description="The EHLO name of the tenant's profiles that set none themselves."),
]
TenantRate = Annotated[
    RateLimit | None,
    Field(description="What all of the tenant's profiles may send together, beside their own."),
]
InPath = Annotated[str, Path(description="The tenant's id or slug.", examples=["acme"])]


class TenantCreate(Body):
    """A new tenant."""

    slug: Slug
    name: Name | None = Field(default=None, description="A name for people; the slug, if left out.")
    ehlo_name: TenantEhlo = None
    rate_limit: TenantRate = None


class TenantUpdate(Body):
    """What to change of a tenant; what is left out stays."""

    slug: Slug | None = None
    name: Name | None = None
    ehlo_name: TenantEhlo = None
    rate_limit: TenantRate = None


class TenantRead(BaseModel):
    """A tenant."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [EXAMPLE]})

    id: str
    slug: str
    name: str
    ehlo_name: str | None
    rate_limit: RateLimitRead | None
    created_at: datetime
    updated_at: datetime


class TenantPage(Page[TenantRead]):
    """A page of tenants, oldest first."""


def new_tenant(body: TenantCreate, *, now: datetime) -> Tenant:
    """A tenant with a new id."""
    return Tenant(
        id=new_id("ten"),
        slug=body.slug,
        name=body.name or body.slug,
        ehlo_name=body.ehlo_name,
        rate_limit=body.rate_limit.limit() if body.rate_limit else None,
        created_at=now,
        updated_at=now,
    )


@router.post(
    "/tenants",
    status_code=201,
    operation_id="create_tenant",
    summary="Create a tenant",
    response_description="The tenant was created.",
    responses=admin_problems("tenant-exists", has_body=True)
    | {201: {"headers": located(LOCATION)}},
)
async def create_tenant(
    body: Annotated[
        TenantCreate,
        JsonBody(
            openapi_examples={
                "tenant": {
                    "summary": "A tenant with an EHLO name for all of its profiles",
                    "value": {
                        "slug": "acme",
                        "name": "Acme Ltd",
                        "ehlo_name": "mail.example.com",
                    },
                },
                "least": {"summary": "The least there is to say", "value": {"slug": "beta"}},
            }
        ),
    ],
    response: Response,
    services: ServicesOf,
) -> TenantRead:
    """Make a tenant; then make a key for it with `POST /tenants/{tenant}/keys`."""
    tenant = new_tenant(body, now=services.now())
    async with services.database.transaction() as connection:
        await tenants.insert(connection, tenant=tenant)
    response.headers["Location"] = f"/tenants/{tenant.id}"
    return TenantRead.model_validate(tenant)


@router.get(
    "/tenants",
    operation_id="list_tenants",
    summary="List tenants",
    responses=admin_problems("invalid-request"),
)
async def list_tenants(paging: ListQuery, services: ServicesOf) -> TenantPage:
    """All tenants, oldest first."""
    after = start(paging, "ten")
    async with services.database.reading() as connection:
        rows = await tenants.page(connection, limit=paging.limit + 1, after=after)
    kept, cursor = cut(rows, paging.limit)
    return TenantPage(items=[TenantRead.model_validate(row) for row in kept], next_cursor=cursor)


@router.get(
    "/tenants/{tenant}",
    operation_id="get_tenant",
    summary="Read a tenant",
    responses=admin_problems("tenant-not-found"),
)
async def get_tenant(tenant: InPath, services: ServicesOf) -> TenantRead:
    """One tenant, by id or slug."""
    async with services.database.reading() as connection:
        return TenantRead.model_validate(await tenants.get(connection, tenant=tenant))


@router.patch(
    "/tenants/{tenant}",
    operation_id="update_tenant",
    summary="Change a tenant",
    responses=admin_problems("tenant-not-found", "tenant-exists", has_body=True),
)
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
                "no_ehlo_name": {
                    "summary": "No EHLO name of its own",
                    "value": {"ehlo_name": None},
                },
            }
        ),
    ],
    services: ServicesOf,
) -> TenantRead:
    """Change what is given. A new `ehlo_name` is used from the next connection on."""
    changes = body.model_dump(exclude_unset=True, exclude={"rate_limit"})
    for required in ("slug", "name"):
        if required in changes and changes[required] is None:
            msg = "it cannot be null; leave it out to keep it"
            raise InvalidRequest.at(required, msg=msg)
    if "rate_limit" in body.model_fields_set:
        changes |= rate_columns(body.rate_limit.limit() if body.rate_limit else None)
    async with services.database.transaction(announce=True) as connection:
        found = await tenants.get(connection, tenant=tenant)
        changed = await tenants.update(
            connection, tenant_id=found.id, changes=changes, now=services.now()
        )
    services.profiles.forget(found.id)
    return TenantRead.model_validate(changed)


@router.delete(
    "/tenants/{tenant}",
    status_code=204,
    operation_id="delete_tenant",
    summary="Delete a tenant",
    response_description="The tenant and all that was its own are gone.",
    responses=admin_problems("tenant-not-found", "tenant-not-empty"),
)
async def delete_tenant(tenant: InPath, services: ServicesOf) -> None:
    """Delete a tenant with its keys and its history; refused while it has profiles."""
    async with services.database.transaction() as connection:
        found = await tenants.get(connection, tenant=tenant)
        await tenants.delete(connection, tenant_id=found.id)
    services.keys.forget_tenant(tenant_id=found.id)
    services.profiles.forget(found.id)
