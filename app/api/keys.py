"""`/tenants/{tenant}/keys`: the API keys of a tenant."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Response
from fastapi import Body as JsonBody
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.api.auth import Admin
from app.api.bodies import Body, Instant, Line
from app.api.openapi import admin_problems, located
from app.api.paging import ListQuery, Page, cut, start
from app.api.state import ServicesOf
from app.api.tenants import InPath
from app.domain.errors import InvalidRequest
from app.domain.ids import new_id
from app.domain.keys import hash_of, hint_of, new_secret
from app.domain.types import ApiKey, Scope
from app.store import api_keys, tenants

router = APIRouter(tags=["Keys"], dependencies=[Admin])

EXAMPLE: Final[dict[str, Any]] = {
    "id": "key_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "name": "billing service",
    "hint": "hel_4fQk…",
    "scopes": ["messages:read", "messages:send"],
    "created_at": "2026-01-15T09:30:00Z",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": "2026-01-15T10:00:00Z",
}
EXAMPLE_CREATED: Final = EXAMPLE | {"last_used_at": None, "key": "hel_4fQk…"}
LOCATION: Final = (
    "/tenants/ten_0198c5a2d3f07b6e8a4c1d2e3f405162/keys/key_0198c5a2d3f07b6e8a4c1d2e3f405162"
)


def _sorted(scopes: list[Scope]) -> list[Scope]:
    return sorted(set(scopes))


class KeyCreate(Body):
    """A new key."""

    name: Annotated[Line, Field(min_length=1, max_length=200)] = Field(
        description="What it is for."
    )
    scopes: Annotated[list[Scope], AfterValidator(_sorted)] = Field(
        min_length=1,
        description="What it may do. `profiles:manage` includes `profiles:read`, and"
        " `messages:manage` includes `messages:read`.",
    )
    expires_at: Instant | None = Field(
        default=None, description="When it stops working; never, if left out."
    )


class KeyRead(BaseModel):
    """A key without the key itself."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: str
    name: str
    hint: str = Field(description="How the key begins, to tell keys apart.")
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="Written every now and then.")


class KeyCreated(KeyRead):
    """A new key, with the key itself this once."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_CREATED]})

    key: str = Field(description="The key. Keep it now: only its hash is stored.")


class KeyPage(Page[KeyRead]):
    """A page of keys, oldest first."""


def new_key(body: KeyCreate, *, tenant_id: str, secret: str, now: datetime) -> ApiKey:
    """A key with a new id, of which `secret` is the key itself."""
    return ApiKey(
        id=new_id("key"),
        tenant_id=tenant_id,
        name=body.name,
        hint=hint_of(secret),
        scopes=frozenset(body.scopes),
        created_at=now,
        expires_at=body.expires_at,
        revoked_at=None,
        last_used_at=None,
    )


@router.post(
    "/tenants/{tenant}/keys",
    status_code=201,
    operation_id="create_key",
    summary="Create an API key",
    response_description="The key was created; it is shown this once.",
    responses=admin_problems("tenant-not-found", has_body=True)
    | {201: {"headers": located(LOCATION)}},
)
async def create_key(
    tenant: InPath,
    body: Annotated[
        KeyCreate,
        JsonBody(
            openapi_examples={
                "sender": {
                    "summary": "A service that sends and looks at what it sent",
                    "value": {
                        "name": "billing service",
                        "scopes": ["messages:send", "messages:read"],
                    },
                },
                "manager": {
                    "summary": "A tool that manages profiles, for a while",
                    "value": {
                        "name": "provisioning",
                        "scopes": ["profiles:manage"],
                        "expires_at": "2100-01-01T00:00:00Z",
                    },
                },
            }
        ),
    ],
    response: Response,
    services: ServicesOf,
) -> KeyCreated:
    """Make a key for a tenant. `key` is answered this once and stored as a hash alone."""
    now, secret = services.now(), new_secret()
    if body.expires_at is not None and body.expires_at <= now:
        raise InvalidRequest.at(
            "expires_at", msg="it is past; give a time to come, or leave it out"
        )
    async with services.database.transaction() as connection:
        owner = await tenants.get(connection, tenant=tenant)
        key = new_key(body, tenant_id=owner.id, secret=secret, now=now)
        await api_keys.insert(connection, key=key, hash=hash_of(secret))
    response.headers["Location"] = f"/tenants/{owner.id}/keys/{key.id}"
    response.headers["Cache-Control"] = "no-store"
    return KeyCreated(**_fields(key), key=secret)


@router.get(
    "/tenants/{tenant}/keys",
    operation_id="list_keys",
    summary="List a tenant's API keys",
    responses=admin_problems("tenant-not-found", "invalid-request"),
)
async def list_keys(tenant: InPath, paging: ListQuery, services: ServicesOf) -> KeyPage:
    """The keys of a tenant, oldest first, revoked ones too, none of them in full."""
    after = start(paging, "key")
    async with services.database.reading() as connection:
        owner = await tenants.get(connection, tenant=tenant)
        rows = await api_keys.page(
            connection, tenant_id=owner.id, limit=paging.limit + 1, after=after
        )
    kept, cursor = cut(rows, paging.limit)
    return KeyPage(items=[KeyRead(**_fields(row)) for row in kept], next_cursor=cursor)


@router.delete(
    "/tenants/{tenant}/keys/{key_id}",
    status_code=204,
    operation_id="revoke_key",
    summary="Revoke an API key",
    response_description="The key opens nothing any more.",
    responses=admin_problems("tenant-not-found", "key-not-found"),
)
async def revoke_key(
    tenant: InPath,
    key_id: Annotated[str, Path(description="The key's id.", examples=[EXAMPLE["id"]])],
    services: ServicesOf,
) -> None:
    """Revoke a key: at once in this process, within five seconds in every other."""
    async with services.database.transaction() as connection:
        owner = await tenants.get(connection, tenant=tenant)
        await api_keys.revoke(connection, tenant_id=owner.id, key_id=key_id, now=services.now())
    services.keys.forget(key_id=key_id)


def _fields(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "hint": key.hint,
        "scopes": sorted(key.scopes),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }
