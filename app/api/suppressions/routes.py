"""Serve `/suppressions`: addresses and patterns that a tenant does not send to."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import Body as JsonBody
from fastapi import Path, Query, Response
from pydantic import AfterValidator, Field

from app.api.auth.dependencies import SuppressionManager
from app.api.http.fields import Line, RequestModel, ResponseModel, Text
from app.api.http.pagination import Page, Paging, read_page
from app.api.messages.schemas import RecipientAddress, Tag
from app.api.openapi import describe_location, problems
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices
from app.domain.address.parse import MAX_ADDRESS_CHARACTERS
from app.domain.ids import new_id
from app.domain.suppressions import parse_suppressed
from app.domain.types import Suppression, SuppressionReason
from app.store import suppressions

router = Router("Suppressions")

EXAMPLE: Final[dict[str, Any]] = {
    "id": "sup_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "address": "ann@example.org",
    "tag": None,
    "reason": "unsubscribe",
    "detail": "by the link in the January newsletter",
    "created_at": "2026-01-15T09:30:00Z",
}
CREATE: Final[dict[str, Any]] = {
    "all": {"summary": "No messages at all", "value": {"address": "ann@example.org"}},
    "domain": {"summary": "No messages to a domain", "value": {"address": "*@example.com"}},
    "tag": {
        "summary": "No newsletter",
        "value": {"address": "ann@example.org", "tag": "newsletter", "reason": "unsubscribe"},
    },
}


SuppressedAddress = Annotated[
    Line, Field(max_length=MAX_ADDRESS_CHARACTERS), AfterValidator(parse_suppressed)
]


class SuppressionCreate(RequestModel):
    """An address or a pattern to suppress."""

    address: SuppressedAddress = Field(
        description="An address, or a pattern: `*@example.com` covers all addresses of a domain,"
        " `*.example.com` those of its subdomains, but not of the domain itself. Case does not"
        " matter.",
        examples=["ann@example.org", "*@example.com", "*.example.com"],
    )
    tag: Tag | None = Field(
        default=None, description="Suppress only messages with this tag. Default: all messages."
    )
    reason: SuppressionReason = SuppressionReason.MANUAL
    detail: Text | None = Field(default=None, max_length=1000, description="A note of your own.")

    def to_suppression(self, tenant_id: str, now: datetime) -> Suppression:
        return Suppression(
            id=new_id("sup"), tenant_id=tenant_id, created_at=now, **self.model_dump()
        )


class SuppressionRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """A suppressed address or pattern."""

    id: str
    address: str = Field(
        description="The address or the pattern, in lower case, the domain as an A-label. A local"
        " part with a `*` is in quotes: it is no pattern."
    )
    tag: str | None = Field(
        description="Suppresses only messages with this tag. Null: all messages."
    )
    reason: SuppressionReason
    detail: str | None
    created_at: datetime


class SuppressionPage(Page[SuppressionRead]):
    """A page of suppressions, newest first."""


class SuppressionQuery(Paging):
    """Filters. A suppression must match all of them."""

    address: SuppressedAddress | None = Field(
        default=None,
        description="Only suppressions with exactly this address or pattern. Case does not matter.",
    )
    recipient: RecipientAddress | None = Field(
        default=None,
        description="Only suppressions that cover this address: its own, and those of patterns.",
    )
    tag: Text | None = Field(
        default=None, max_length=64, description="Only suppressions with this tag."
    )
    reason: list[SuppressionReason] = Field(
        default_factory=list,
        max_length=10,
        description="Only suppressions with one of these reasons.",
    )


@router.post(
    "/suppressions",
    status_code=201,
    summary="Create a suppression",
    response_description="The new suppression. Heloise sends nothing more to what it covers.",
    responses=describe_location(f"/suppressions?address={EXAMPLE['address']}"),
)
@problems("suppression-exists")
async def create_suppression(
    body: Annotated[SuppressionCreate, JsonBody(openapi_examples=CREATE)],
    caller: SuppressionManager,
    response: Response,
    services: ReadyServices,
) -> SuppressionRead:
    """Stop sending to an address, or to all addresses of a pattern: they become `suppressed`.

    This also applies to waiting messages.
    """
    audit_context = caller.audit_context(services.now())
    suppression = body.to_suppression(caller.tenant_id, audit_context.now)
    async with services.database.transaction() as connection:
        await suppressions.insert(connection, suppression=suppression)
        await audit_context.record(
            connection, "suppression.create", object_id=suppression.id, after=suppression
        )
    response.headers["Location"] = f"/suppressions?address={quote(suppression.address, safe='@*')}"
    return SuppressionRead.model_validate(suppression)


@router.get("/suppressions", summary="List suppressions")
async def list_suppressions(
    query: Annotated[SuppressionQuery, Query()], caller: SuppressionManager, services: ReadyServices
) -> SuppressionPage:
    """List the tenant's suppressions, newest first."""
    load = partial(
        suppressions.page,
        tenant_id=caller.tenant_id,
        address=query.address,
        recipient=query.recipient,
        tag=query.tag,
        reasons=query.reason,
    )
    read = SuppressionRead.model_validate
    return await read_page(services.database, query, "sup", load, SuppressionPage, read)


@router.delete(
    "/suppressions/{suppression}",
    status_code=204,
    summary="Delete a suppression",
    response_description="The suppression is deleted, and no longer stops messages.",
)
@problems("suppression-not-found")
async def delete_suppression(
    suppression: Annotated[
        str, Path(description="The suppression's id.", examples=[EXAMPLE["id"]])
    ],
    caller: SuppressionManager,
    services: ReadyServices,
) -> None:
    """Delete a suppression. Recipients that are `suppressed` stay so."""
    audit_context = caller.audit_context(services.now())
    async with services.database.transaction() as connection:
        row = await suppressions.delete(
            connection, tenant_id=caller.tenant_id, suppression_id=suppression
        )
        await audit_context.record(connection, "suppression.delete", object_id=row.id, before=row)
