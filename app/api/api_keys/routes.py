"""Serve `/keys` for tenants and `/tenants/{tenant}/keys` for admins."""

from functools import partial
from typing import Annotated, Any, Final

from fastapi import Body as JsonBody
from fastapi import Depends, Path, Response
from sqlalchemy.ext.asyncio import AsyncConnection

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
from app.api.api_keys.service import KeyOwner
from app.api.auth.dependencies import AdminAuditContext, KeyManager, ListQuery
from app.api.http.pagination import read_page
from app.api.openapi import describe_location, problems
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices
from app.api.tenants.routes import InPath
from app.auth.reach import can_reach
from app.domain.types import ApiKey
from app.store import api_keys
from app.store.db.keyset import read_pages
from app.store.tenants import queries as tenants

router = Router("Keys")
admin_router = Router("Keys")

EXAMPLE_TENANT: Final = "/tenants/ten_0198c5a2d3f07b6e8a4c1d2e3f405162"
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
OWN_RULES: Final = (
    "\n\nWith a key, you can create, rotate and revoke only keys that have no more rights than that"
    " key. A key that is bound to profiles sees only keys bound to some of the same profiles."
)


async def _get_own(caller: KeyManager, services: ReadyServices) -> KeyOwner:
    return KeyOwner(caller.tenant_id, caller.audit_context(services.now()), caller.key)


async def _get_named(tenant: InPath, audit_context: AdminAuditContext) -> KeyOwner:
    return KeyOwner(tenant, audit_context)


def _add_routes(router: Router, *, is_own: bool) -> None:
    """Add the operations on the caller's own keys, or on those of the tenant in the path."""
    path = "/keys" if is_own else "/tenants/{tenant}/keys"
    infix, owner_text, rules = ("own_", "", OWN_RULES) if is_own else ("", "a tenant's ", "")
    key_name = "key" if is_own else "key_id"
    own_problem = "scope-exceeds-caller" if is_own else "tenant-not-found"
    location = describe_location(("" if is_own else EXAMPLE_TENANT) + f"/keys/{EXAMPLE['id']}")

    def respond_created(
        response: Response, services: ReadyServices, key: ApiKey, secret: str
    ) -> KeyCreated:
        base = "" if is_own else f"{services.admin_prefix}/tenants/{key.tenant_id}"
        response.headers["Location"] = f"{base}/keys/{key.id}"
        response.headers["Cache-Control"] = "no-store"
        return KeyCreated.of(key, key=secret)

    Owner = Annotated[KeyOwner, Depends(_get_own if is_own else _get_named)]  # noqa: N806 - a type
    KeyId = Annotated[  # noqa: N806 - as above
        str, Path(alias=key_name, description="The id of the key.", examples=[EXAMPLE["id"]])
    ]

    @router.post(
        path,
        operation_id=f"create_{infix}key",
        summary=f"Create {owner_text or 'a '}key",
        description=f"Create a key. The response shows `key` only this once.{rules}",
        responses=location,
        **SHOWN_ONCE,
    )
    @problems(own_problem)
    async def create(
        body: NewKey, owner: Owner, response: Response, services: ReadyServices
    ) -> KeyCreated:
        async with services.database.transaction() as connection:
            key, secret = await key_actions.create(connection, owner, body)
        return respond_created(response, services, key, secret)

    @router.get(
        path,
        operation_id=f"list_{infix}keys",
        summary=f"List {owner_text}keys",
        description=f"List the tenant's keys, oldest first, revoked ones included.{rules}",
    )
    @problems("tenant-not-found")
    async def list_keys(paging: ListQuery, owner: Owner, services: ReadyServices) -> KeyPage:
        load = partial(_load_reachable, owner=owner)
        return await read_page(services.database, paging, "key", load, KeyPage, KeyRead.of)

    @router.post(
        f"{path}/{{{key_name}}}/rotate",
        operation_id=f"rotate_{infix}key",
        summary=f"Rotate {owner_text or 'a '}key",
        description="Create a key with the same rights. The old one works for a day, or for"
        f" `overlap_seconds`.{rules}",
        responses=location,
        **SHOWN_ONCE,
    )
    @problems("key-not-found", "key-inactive", own_problem)
    async def rotate(
        key: KeyId, owner: Owner, response: Response, services: ReadyServices, body: Rotation = None
    ) -> KeyCreated:
        async with services.database.transaction() as connection:
            new_key, secret = await key_actions.rotate(connection, owner, key, body or KeyRotate())
        services.auth.forget_key(key)
        return respond_created(response, services, new_key, secret)

    @router.delete(
        f"{path}/{{{key_name}}}",
        status_code=204,
        operation_id=f"revoke_{infix}key",
        summary=f"Revoke {owner_text or 'a '}key",
        description="Revoke a key: at once in this process, within five seconds in all others."
        f"{rules}",
        response_description="The key is revoked.",
    )
    @problems("key-not-found", own_problem)
    async def revoke(key: KeyId, owner: Owner, services: ReadyServices) -> None:
        async with services.database.transaction() as connection:
            await key_actions.revoke(connection, owner, key)
        services.auth.forget_key(key)


async def _load_reachable(
    connection: AsyncConnection, *, owner: KeyOwner, limit: int, after: str | None
) -> list[ApiKey]:
    keys = list[ApiKey]()
    tenant = await tenants.get(connection, tenant=owner.tenant)
    load = partial(api_keys.page, connection, tenant_id=tenant.id)
    async for rows in read_pages(load, limit=limit, after=after):
        keys += [key for key in rows if can_reach(owner.caller_key, key)]
        if len(keys) >= limit:
            break
    return keys[:limit]


_add_routes(router, is_own=True)
_add_routes(admin_router, is_own=False)
