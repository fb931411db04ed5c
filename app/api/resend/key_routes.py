"""Serve `/resend/api-keys`."""

from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Path, Response
from pydantic import Field

from app.api.api_keys import service as key_actions
from app.api.api_keys.schemas import KeyCreate
from app.api.api_keys.service import KeyOwner
from app.api.auth.dependencies import KeyManager
from app.api.http.fields import Line, RequestModel, Text
from app.api.requests.json_limits import Router
from app.api.resend.lists import ListQuery, ListRead, build_list, select_rows
from app.api.services import ReadyServices
from app.domain.types import ApiKey, Scope
from app.store import api_keys
from app.store import domains as sending_domains
from app.store.db.keyset import read_pages

KEYS_PER_READ: Final = 200

router = Router("Keys", prefix="/resend/api-keys")


class Permission(StrEnum):
    """What a key may do at Resend."""

    FULL_ACCESS = "full_access"
    SENDING_ACCESS = "sending_access"


SCOPES: Final = {
    Permission.FULL_ACCESS: list(Scope),
    Permission.SENDING_ACCESS: [Scope.MESSAGES_SEND],
}


class ResendKeyCreate(RequestModel):
    """A new key."""

    name: Line = Field(min_length=1, max_length=200)
    permission: Permission = Permission.FULL_ACCESS
    domain_id: Text | None = Field(
        default=None, max_length=253, description="The domain whose addresses the key may use."
    )


@router.post("", operation_id="resend_create_key")
async def create_key(
    body: ResendKeyCreate, caller: KeyManager, services: ReadyServices, response: Response
) -> dict[str, Any]:
    """Create a key. The answer shows it only this once."""
    response.headers["Cache-Control"] = "no-store"
    async with services.database.transaction() as connection:
        senders = []
        if body.domain_id is not None:
            domain = await sending_domains.get(
                connection, tenant_id=caller.tenant_id, domain=body.domain_id
            )
            senders = [f"*@{domain.domain}"]
        key, secret = await key_actions.create(
            connection,
            KeyOwner(caller.tenant_id, caller.audit_context(services.now()), caller.key),
            KeyCreate(name=body.name, scopes=SCOPES[body.permission], allowed_from=senders),
        )
    return {"id": key.id, "token": secret}


@router.get("", operation_id="resend_list_keys")
async def list_keys(params: ListQuery, caller: KeyManager, services: ReadyServices) -> ListRead:
    """List the keys that work, newest first."""
    params.check("key")
    now, keys = services.now(), list[ApiKey]()
    async with services.database.reading() as connection:
        load = partial(api_keys.page, connection, tenant_id=caller.tenant_id)
        async for rows in read_pages(load, limit=KEYS_PER_READ):
            keys += [key for key in rows if key.is_valid(now) and caller.can_reach(key)]
    return build_list(select_rows(keys[::-1], params), params, _describe)


def _describe(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
    }


@router.delete("/{key}", operation_id="resend_delete_key")
async def delete_key(
    key: Annotated[str, Path(description="The key's id.")],
    caller: KeyManager,
    services: ReadyServices,
) -> dict[str, Any]:
    """Revoke a key."""
    owner = KeyOwner(caller.tenant_id, caller.audit_context(services.now()), caller.key)
    async with services.database.transaction() as connection:
        await key_actions.revoke(connection, owner, key)
    services.auth.forget_key(key)
    return {}
