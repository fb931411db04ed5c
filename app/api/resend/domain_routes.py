"""Serve `/resend/domains`: signing domains and their DNS records."""

from typing import Annotated, Any, Final, Literal

from fastapi import Path, Response
from pydantic import Field

from app.api.auth.dependencies import ProfileReader, UnboundProfileManager
from app.api.domains import routes as domains
from app.api.domains.schemas import DkimKeyRead, DomainCreate, DomainRead
from app.api.http.field_errors import validate_body
from app.api.http.fields import Line, RequestModel
from app.api.requests.json_limits import Router
from app.api.resend.lists import ListQuery, ListRead, build_list, select_rows
from app.api.services import ReadyServices
from app.domain.mime.dkim import DkimKeyStatus
from app.store import domains as sending_domains

# The SDKs' types require a region; Heloise has none.
REGION: Final = "us-east-1"

router = Router("Domains", prefix="/resend/domains")
InPath = Annotated[str, Path(description="The domain's id or name.")]


class ResendDomainCreate(RequestModel):
    """A domain to sign for. Heloise has no regions, tracking or own return path."""

    name: Line = Field(max_length=253)
    region: Line | None = Field(default=None, max_length=50)
    custom_return_path: Line | None = Field(default=None, max_length=63)
    open_tracking: Literal[False] | None = None
    click_tracking: Literal[False] | None = None
    tracking_subdomain: None = None
    tls: Line | None = Field(default=None, max_length=50)
    capabilities: dict[str, Any] | None = None


@router.post("", operation_id="resend_create_domain")
async def create_domain(
    body: ResendDomainCreate, caller: UnboundProfileManager, services: ReadyServices
) -> dict[str, Any]:
    """Create a domain with two DKIM keys, and return their DNS records."""
    domain = validate_body(DomainCreate, {"domain": body.name})
    created = await domains.create_domain(domain, caller, Response(), services)
    return _describe(created) | {"region": body.region or REGION, "records": _list_records(created)}


@router.get("", operation_id="resend_list_domains")
async def list_domains(
    params: ListQuery, caller: ProfileReader, services: ReadyServices
) -> ListRead:
    """List domains, newest first."""
    params.check("dom")
    async with services.database.reading() as connection:
        rows = await sending_domains.page(
            connection, tenant_id=caller.tenant_id, limit=domains.MAX_DOMAINS
        )
    return build_list(select_rows(rows, params), params, lambda row: _describe(DomainRead.of(row)))


@router.get("/{domain}", operation_id="resend_get_domain")
async def get_domain(
    domain: InPath, caller: ProfileReader, services: ReadyServices
) -> dict[str, Any]:
    """Get a domain with its DNS records."""
    read = await domains.get_domain(domain, caller, services)
    return {"object": "domain", **_describe(read), "records": _list_records(read)}


@router.post("/{domain}/verify", operation_id="resend_verify_domain")
async def verify_domain(
    domain: InPath, caller: UnboundProfileManager, services: ReadyServices
) -> dict[str, Any]:
    """Look up a domain's DNS records; a key whose record exists signs from then on."""
    checked = await domains.check_domain(domain, caller, services)
    return {"object": "domain", "id": checked.id}


@router.delete("/{domain}", operation_id="resend_delete_domain")
async def delete_domain(
    domain: InPath, caller: UnboundProfileManager, services: ReadyServices
) -> dict[str, Any]:
    """Delete a domain and its keys."""
    read = await domains.get_domain(domain, caller, services)
    await domains.delete_domain(domain, caller, services)
    return {"object": "domain", "id": read.id, "deleted": True}


def _describe(domain: DomainRead) -> dict[str, Any]:
    return {
        "id": domain.id,
        "name": domain.domain,
        "status": _find_status(domain),
        "created_at": domain.created_at,
        "region": REGION,
        "capabilities": {"sending": "enabled", "receiving": "disabled"},
    }


def _find_status(domain: DomainRead) -> str:
    statuses = {_find_record_status(key) for key in _list_keys(domain)}
    if statuses == {"verified"}:
        return "verified"
    if "verified" in statuses:
        return "partially_verified"
    return "pending" if "pending" in statuses else "not_started"


def _find_record_status(key: DkimKeyRead) -> str:
    if key.status is DkimKeyStatus.ACTIVE:
        return "verified"
    return "not_started" if key.checked_at is None else "pending"


def _list_keys(domain: DomainRead) -> list[DkimKeyRead]:
    return [key for key in domain.keys if key.status is not DkimKeyStatus.RETIRED]


def _list_records(domain: DomainRead) -> list[dict[str, Any]]:
    return [
        {
            "record": "DKIM",
            "name": key.dns_record.name,
            "type": key.dns_record.type,
            "ttl": "Auto",
            "status": _find_record_status(key),
            "value": key.dns_record.value,
        }
        for key in _list_keys(domain)
    ]
