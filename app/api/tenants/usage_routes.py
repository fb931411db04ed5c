"""Serve `/usage`: a tenant's limits and their use."""

from datetime import datetime
from typing import Any, Final

from pydantic import Field

from app.api.auth.dependencies import MessageReader
from app.api.http.fields import ResponseModel
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices
from app.domain.tenants.quotas import resets_at
from app.store.profiles import queries as profiles
from app.store.tenants import quota_usage

router = Router("Messages")

EXAMPLE: Final[dict[str, Any]] = {
    "limits": [
        {
            "limit": "messages_per_day",
            "value": 10000,
            "used": 12,
            "resets_at": "2026-01-16T00:00:00Z",
        },
        {"limit": "profiles", "value": 10, "used": 2, "resets_at": None},
        {"limit": "message_bytes", "value": 1048576, "used": None, "resets_at": None},
    ]
}


class LimitRead(ResponseModel):
    """A limit of the tenant's quota."""

    limit: str
    value: int
    used: int | None = Field(
        description="How much the tenant uses. Null for limits of a single request or message."
    )
    resets_at: datetime | None = Field(description="When the count returns to zero. Null: never.")


class UsageRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """The limits and their use."""

    limits: list[LimitRead]


@router.get("/usage", summary="Get usage")
async def get_usage(caller: MessageReader, services: ReadyServices) -> UsageRead:
    """Get the limits of the tenant's quota, and how much of each the tenant uses.

    Empty if the tenant has no quota.
    """
    quota, now, tenant_id = caller.tenant.quota, services.now(), caller.tenant_id
    used: dict[str, int] = {}
    async with services.database.reading() as connection:
        if quota.is_counted:
            quota_use = await quota_usage.load_usage(connection, tenant_id=tenant_id, now=now)
            used = {
                "messages_per_day": quota_use.day_messages,
                "messages_per_month": quota_use.month_messages,
                "stored_bytes": quota_use.stored_bytes,
                "queued_messages": await quota_usage.count_queued(
                    connection, tenant_id=tenant_id, quota=quota
                ),
            }
        if quota.profiles is not None:
            used["profiles"] = await profiles.count(connection, tenant_id=tenant_id)
    limits = [
        LimitRead(limit=name, value=value, used=used.get(name), resets_at=resets_at(name, now))
        for name, value in quota.as_dict().items()
    ]
    return UsageRead(limits=limits)
