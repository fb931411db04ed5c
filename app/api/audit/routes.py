"""Serve `/audit-log`: changes and refused requests."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Query
from pydantic import Field

from app.api.auth.dependencies import Auditor
from app.api.http.fields import Instant, ResponseModel, Text
from app.api.http.pagination import Page, Paging, read_page
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices
from app.domain.audit import ActorKind, AuditEntry
from app.store import audit
from app.store.audit import AuditFilter

router = Router("Audit")

EXAMPLE: Final[dict[str, Any]] = {
    "id": "aud_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "at": "2026-01-15T09:30:00Z",
    "actor": {
        "kind": "key",
        "id": "key_0198c5a2d3f07b6e8a4c1d2e3f405162",
        "name": "provisioning",
        "source": "192.0.2.10",
    },
    "action": "profile.update",
    "tenant_id": "ten_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "object_id": "prf_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "refused_as": None,
    "changes": {"ehlo_name": {"before": None, "after": "mail.example.com"}},
    "request_id": "req_0198c5a2d3f07b6e8a4c1d2e3f405162",
}


class AuditQuery(Paging):
    """Filters and paging of the audit log."""

    action: Text | None = Field(
        default=None,
        max_length=64,
        description="Only entries of this action.",
        examples=["key.create"],
    )
    actor_kind: ActorKind | None = Field(default=None, description="Only what such actors did.")
    actor_id: Text | None = Field(
        default=None,
        max_length=255,
        description="Only what this key, or a person in this session of the console, did.",
        examples=["key_0198c5a2d3f07b6e8a4c1d2e3f405162"],
    )
    actor_name: Text | None = Field(
        default=None, max_length=255, description="Only what actors of this name did."
    )
    source: Text | None = Field(
        default=None, max_length=255, description="Only what came from this address or machine."
    )
    object_id: Text | None = Field(
        default=None,
        max_length=255,
        description="Only entries of this object.",
        examples=["prf_0198c5a2d3f07b6e8a4c1d2e3f405162"],
    )
    request_id: Text | None = Field(
        default=None, max_length=128, description="Only entries of this request (`X-Request-ID`)."
    )
    refused: bool | None = Field(
        default=None, description="`true`: only refused requests. `false`: only what was done."
    )
    created_after: Instant | None = Field(
        default=None, description="Only entries written at this time or later."
    )
    created_before: Instant | None = Field(
        default=None, description="Only entries written before this time."
    )

    def to_filter(self) -> AuditFilter:
        filters = self.model_dump(exclude={"limit", "cursor", "refused"})
        return AuditFilter(**filters, is_refused=self.refused)


class ActorRead(ResponseModel):
    """The actor."""

    kind: ActorKind
    id: str | None = Field(
        description="The id of the key, or of a person's session of the console."
    )
    name: str | None = Field(
        description="The name of the API key, of the admin key, of the person who signed in to the"
        " console through an OpenID Connect provider, or of the command line's user. For"
        " an unauthenticated request, the first characters of the key that it sent."
    )
    source: str | None = Field(
        description="The client's IP address, or the host name of the command line's machine."
    )


class ChangeRead(ResponseModel):
    """A field's value before and after."""

    before: Any
    after: Any


class AuditRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """An entry of the audit log."""

    id: str
    at: datetime
    actor: ActorRead
    action: str = Field(
        description="The action, such as `key.create`. For a refused request, its operation id."
    )
    tenant_id: str | None
    object_id: str | None = Field(
        description="The id of the changed object. For a refused request, its path."
    )
    refused_as: str | None = Field(
        description="The problem type of a refused request. Null if the action succeeded."
    )
    changes: dict[str, ChangeRead] = Field(
        description="The changed fields, before and after. For"
        " secrets, only the names of those that were set."
    )
    request_id: str | None

    @classmethod
    def of(cls, entry: AuditEntry) -> "AuditRead":
        changes = {
            name: ChangeRead(before=before, after=after)
            for name, (before, after) in entry.changes.items()
        }
        return cls.build(entry, changes=changes)


class AuditPage(Page[AuditRead]):
    """A page of the audit log, newest first."""


@router.get("/audit-log", summary="List audit log entries")
async def list_audit_log(
    query: Annotated[AuditQuery, Query()], caller: Auditor, services: ReadyServices
) -> AuditPage:
    """List changes of the tenant's keys, profiles and other objects, and refused requests.

    Newest first. Heloise keeps entries for HELOISE_AUDIT_RETENTION_DAYS. Without `Heloise-Tenant`,
    an admin key gets all tenants' entries and those of unauthenticated requests.
    """
    tenant_id = None if caller is None else caller.tenant_id
    load = partial(audit.page, tenant_id=tenant_id, audit_filter=query.to_filter())
    return await read_page(services.replica, query, "aud", load, AuditPage, AuditRead.of)
