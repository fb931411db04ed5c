"""Serve `/keys` for tenants and `/tenants/{tenant}/keys` for admins."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Response
from fastapi import Body as JsonBody

from app.api.api_keys import service as key_actions
from app.api.api_keys.schemas import (
    CREATE_EXAMPLES,
    EXAMPLE,
    KeyCreate,
    KeyCreated,
    KeyPage,
    KeyRead,
    KeyRotate,
)
from app.api.auth.dependencies import Admin, AdminAct, KeyManager
from app.api.http.page_query import ListQuery
from app.api.http.pagination import Paging, cut, start
from app.api.openapi import admin_problems, located, tenant_problems
from app.api.requests.json_limits import BoundedRoute
from app.api.services import Services, ServicesOf
from app.api.tenants.routes import InPath
from app.auth.reach import reaches
from app.domain.types import ApiKey
from app.store import api_keys
from app.store.tenants import queries as tenants

router = APIRouter(tags=["Keys"], route_class=BoundedRoute)
admin_router = APIRouter(tags=["Keys"], route_class=BoundedRoute)

OWN_LOCATION: Final = f"/keys/{EXAMPLE['id']}"
LOCATION: Final = f"/tenants/ten_0198c5a2d3f07b6e8a4c1d2e3f405162{OWN_LOCATION}"
KeyId = Annotated[str, Path(description="The id of the key.", examples=[EXAMPLE["id"]])]
NewKey = Annotated[KeyCreate, JsonBody(openapi_examples=CREATE_EXAMPLES)]
Rotation = Annotated[
    KeyRotate | None,
    JsonBody(
        openapi_examples={
            "overlap": {
                "summary": "An hour to deploy the new key",
                "value": {"overlap_seconds": 3600},
            },
            "at_once": {
                "summary": "The old key may be compromised",
                "value": {"overlap_seconds": 0},
            },
        }
    ),
]
SHOWN_ONCE: Final[dict[str, Any]] = {
    "status_code": 201,
    "response_description": "The new key, shown only this once.",
}


@router.post(
    "/keys",
    operation_id="create_own_key",
    summary="Create a key",
    responses=tenant_problems("scope-exceeds-caller", has_body=True)
    | {201: {"headers": located(OWN_LOCATION)}},
    **SHOWN_ONCE,
)
async def create_own_key(
    body: NewKey, caller: KeyManager, response: Response, services: ServicesOf
) -> KeyCreated:
    """Create another key of the tenant, which may do at most what the calling key may.

    Requires the scope `keys:manage`.
    """
    async with services.database.transaction() as connection:
        key_and_secret = await key_actions.create(
            connection,
            caller.act(services.now()),
            body,
            tenant_id=caller.tenant_id,
            by=caller.key,
        )
    return _respond_created(response, key_and_secret, "/keys")


@router.get(
    "/keys",
    operation_id="list_own_keys",
    summary="List keys",
    responses=tenant_problems("invalid-request"),
)
async def list_own_keys(paging: ListQuery, caller: KeyManager, services: ServicesOf) -> KeyPage:
    """List the tenant's keys, oldest first, revoked ones included.

    A key that is bound to profiles sees only keys bound to some of the same profiles. Requires the
    scope `keys:manage`.
    """
    return await _read_page(services, caller.tenant_id, paging, caller_key=caller.key)


@router.post(
    "/keys/{key}/rotate",
    operation_id="rotate_own_key",
    summary="Rotate a key",
    responses=tenant_problems(
        "key-not-found", "key-inactive", "scope-exceeds-caller", has_body=True
    )
    | {201: {"headers": located(OWN_LOCATION)}},
    **SHOWN_ONCE,
)
async def rotate_own_key(
    key: KeyId,
    caller: KeyManager,
    response: Response,
    services: ServicesOf,
    body: Rotation = None,
) -> KeyCreated:
    """Create a key with the same rights. The old one works for a day, or for `overlap_seconds`.

    A key can rotate itself, and keys that may do no more than itself. Requires the scope
    `keys:manage`.
    """
    async with services.database.transaction() as connection:
        key_and_secret = await key_actions.rotate(
            connection,
            caller.act(services.now()),
            key,
            body or KeyRotate(),
            tenant_id=caller.tenant_id,
            by=caller.key,
        )
    services.auth.keys.forget(key_id=key)
    return _respond_created(response, key_and_secret, "/keys")


@router.delete(
    "/keys/{key}",
    status_code=204,
    operation_id="revoke_own_key",
    summary="Revoke a key",
    response_description="The key is revoked.",
    responses=tenant_problems("key-not-found", "scope-exceeds-caller"),
)
async def revoke_own_key(key: KeyId, caller: KeyManager, services: ServicesOf) -> None:
    """Revoke a key: at once in this process, within five seconds in all others.

    A key can revoke itself, and keys that may do no more than itself. Requires the scope
    `keys:manage`.
    """
    async with services.database.transaction() as connection:
        await key_actions.revoke(
            connection,
            caller.act(services.now()),
            key,
            tenant_id=caller.tenant_id,
            by=caller.key,
        )
    services.auth.keys.forget(key_id=key)


@admin_router.post(
    "/tenants/{tenant}/keys",
    operation_id="create_key",
    summary="Create a key for a tenant",
    responses=admin_problems("tenant-not-found", has_body=True)
    | {201: {"headers": located(LOCATION)}},
    **SHOWN_ONCE,
)
async def create_key(
    tenant: InPath, body: NewKey, act: AdminAct, response: Response, services: ServicesOf
) -> KeyCreated:
    """Create a key for a tenant. The response shows `key` only this once."""
    async with services.database.transaction() as connection:
        owner = await tenants.get(connection, tenant=tenant)
        key_and_secret = await key_actions.create(connection, act, body, tenant_id=owner.id)
    return _respond_created(
        response, key_and_secret, f"{services.admin_prefix}/tenants/{owner.id}/keys"
    )


@admin_router.get(
    "/tenants/{tenant}/keys",
    operation_id="list_keys",
    summary="List a tenant's keys",
    responses=admin_problems("tenant-not-found", "invalid-request"),
)
async def list_keys(tenant: InPath, paging: ListQuery, _: Admin, services: ServicesOf) -> KeyPage:
    """List a tenant's keys, oldest first, revoked ones included."""
    async with services.database.reading() as connection:
        owner = await tenants.get(connection, tenant=tenant)
    return await _read_page(services, owner.id, paging)


@admin_router.post(
    "/tenants/{tenant}/keys/{key_id}/rotate",
    operation_id="rotate_key",
    summary="Rotate a tenant's key",
    responses=admin_problems("tenant-not-found", "key-not-found", "key-inactive", has_body=True)
    | {201: {"headers": located(LOCATION)}},
    **SHOWN_ONCE,
)
async def rotate_key(
    tenant: InPath,
    key_id: KeyId,
    act: AdminAct,
    response: Response,
    services: ServicesOf,
    body: Rotation = None,
) -> KeyCreated:
    """Create a key with the same rights. The old one works for a day, or for `overlap_seconds`."""
    async with services.database.transaction() as connection:
        owner = await tenants.get(connection, tenant=tenant)
        key_and_secret = await key_actions.rotate(
            connection, act, key_id, body or KeyRotate(), tenant_id=owner.id
        )
    services.auth.keys.forget(key_id=key_id)
    return _respond_created(
        response, key_and_secret, f"{services.admin_prefix}/tenants/{owner.id}/keys"
    )


@admin_router.delete(
    "/tenants/{tenant}/keys/{key_id}",
    status_code=204,
    operation_id="revoke_key",
    summary="Revoke a tenant's key",
    response_description="The key is revoked.",
    responses=admin_problems("tenant-not-found", "key-not-found"),
)
async def revoke_key(tenant: InPath, key_id: KeyId, act: AdminAct, services: ServicesOf) -> None:
    """Revoke a key: at once in this process, within five seconds in all others."""
    async with services.database.transaction() as connection:
        owner = await tenants.get(connection, tenant=tenant)
        await key_actions.revoke(connection, act, key_id, tenant_id=owner.id)
    services.auth.keys.forget(key_id=key_id)


async def _read_page(
    services: Services, tenant_id: str, paging: Paging, *, caller_key: ApiKey | None = None
) -> KeyPage:
    after, keys, limit = start(paging, "key"), list[ApiKey](), paging.limit + 1
    async with services.database.reading() as connection:
        while len(keys) < limit:
            rows = await api_keys.page(connection, tenant_id=tenant_id, limit=limit, after=after)
            keys += [key for key in rows if reaches(caller_key, key)]
            if len(rows) < limit:
                break
            after = rows[-1].id
    page_keys, cursor = cut(keys[:limit], paging.limit)
    return KeyPage(items=[KeyRead.of(row) for row in page_keys], next_cursor=cursor)


def _respond_created(response: Response, key_and_secret: key_actions.Made, path: str) -> KeyCreated:
    key, secret = key_and_secret
    response.headers["Location"] = f"{path}/{key.id}"
    response.headers["Cache-Control"] = "no-store"
    return KeyCreated.made(key, secret)
