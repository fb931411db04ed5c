"""Serve `/resend/suppressions`."""

from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import Path, Query, Response

from app.api.auth.dependencies import SuppressionManager
from app.api.http.field_errors import validate_body
from app.api.http.fields import Line, RequestModel
from app.api.requests.json_limits import Router
from app.api.resend.lists import ListParams, ListRead, build_list
from app.api.services import ReadyServices, Services
from app.api.suppressions import routes as native
from app.auth.caller import Caller
from app.domain.address.parse import MAX_ADDRESS_CHARACTERS
from app.domain.errors import Conflict, NotFound
from app.domain.ids import is_id
from app.domain.suppressions import parse_suppressed
from app.domain.types import Suppression, SuppressionReason
from app.store import suppressions

router = Router("Suppressions", prefix="/resend/suppressions")
InPath = Annotated[
    str, Path(max_length=MAX_ADDRESS_CHARACTERS, description="The suppression's id or address.")
]


class Origin(StrEnum):
    """Why Resend suppresses an address."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    MANUAL = "manual"


ORIGINS: Final = {
    SuppressionReason.HARD_BOUNCE: Origin.BOUNCE,
    SuppressionReason.COMPLAINT: Origin.COMPLAINT,
    SuppressionReason.MANUAL: Origin.MANUAL,
    SuppressionReason.UNSUBSCRIBE: Origin.MANUAL,
}


class ResendSuppressionCreate(RequestModel):
    """An address to suppress."""

    email: Line


class SuppressionParams(ListParams):
    """Which suppressions to list."""

    origin: Origin | None = None


@router.post("", operation_id="resend_create_suppression")
async def create_suppression(
    body: ResendSuppressionCreate, caller: SuppressionManager, services: ReadyServices
) -> dict[str, Any]:
    """Suppress all emails to an address. Repeated, it returns the suppression that exists."""
    suppression = validate_body(native.SuppressionCreate, {"address": body.email})
    try:
        created = await native.create_suppression(suppression, caller, Response(), services)
    except Conflict:
        return {"object": "suppression", "id": (await _find(services, caller, body.email)).id}
    return {"object": "suppression", "id": created.id}


@router.get("", operation_id="resend_list_suppressions")
async def list_suppressions(
    params: Annotated[SuppressionParams, Query()],
    caller: SuppressionManager,
    services: ReadyServices,
) -> ListRead:
    """List suppressions, newest first; those of one tag too."""
    params.check("sup")
    async with services.database.reading() as connection:
        rows = await suppressions.page(
            connection,
            tenant_id=caller.tenant_id,
            limit=params.limit + 1,
            after=params.after,
            before=params.before,
            reasons=[reason for reason, origin in ORIGINS.items() if origin is params.origin],
        )
    return build_list(rows, params, _describe)


@router.get("/{suppression}", operation_id="resend_get_suppression")
async def get_suppression(
    suppression: InPath, caller: SuppressionManager, services: ReadyServices
) -> dict[str, Any]:
    """Get a suppression by its id or address."""
    return {"object": "suppression", **_describe(await _find(services, caller, suppression))}


@router.delete("/{suppression}", operation_id="resend_delete_suppression")
async def delete_suppression(
    suppression: InPath, caller: SuppressionManager, services: ReadyServices
) -> dict[str, Any]:
    """Delete a suppression by its id or address."""
    row = await _find(services, caller, suppression)
    await native.delete_suppression(row.id, caller, services)
    return {"object": "suppression", "id": row.id, "deleted": True}


async def _find(services: Services, caller: Caller, suppression: str) -> Suppression:
    try:
        name = suppression if is_id(suppression, "sup") else parse_suppressed(suppression)
    except ValueError:
        raise NotFound("suppression", suppression) from None
    async with services.database.reading() as connection:
        row = await suppressions.find(connection, tenant_id=caller.tenant_id, suppression=name)
    if row is None:
        raise NotFound("suppression", suppression)
    return row


def _describe(suppression: Suppression) -> dict[str, Any]:
    return {
        "id": suppression.id,
        "email": suppression.address,
        "origin": ORIGINS[suppression.reason],
        "source_id": None,
        "created_at": suppression.created_at,
    }
