"""Serve `GET /stats`: recipients by status and report."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Self

from fastapi import Query
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.auth.dependencies import MessageReader
from app.api.http.fields import Instant, ResponseModel, Text
from app.api.openapi import problems
from app.api.profiles.filter import resolve_profile_id
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices
from app.domain.errors import InvalidRequest
from app.domain.inbound.bounce_parser import ReportKind
from app.domain.types import RecipientStatus
from app.store.messages import stats
from app.store.messages.filters import MessageFilter
from app.store.messages.stats import Dimension, GroupCount

router = Router("Messages")

DEFAULT_SPAN: Final = timedelta(days=30)
MAX_SPAN: Final = timedelta(days=366)
EXAMPLE: Final[dict[str, Any]] = {
    "by": "domain",
    "created_after": "2026-01-01T00:00:00Z",
    "created_before": "2026-01-16T00:00:00Z",
    "groups": [
        {
            "key": "example.org",
            "recipients": 120,
            "statuses": {
                "queued": 0,
                "deferred": 2,
                "sent": 115,
                "bounced": 3,
                "expired": 0,
                "suppressed": 0,
                "cancelled": 0,
                "uncertain": 0,
            },
            "reports": {
                "delivered": 0,
                "delayed": 0,
                "bounced_later": 4,
                "complained": 1,
                "unsubscribed": 0,
                "reported": 0,
            },
        }
    ],
}


class StatsQuery(BaseModel, extra="forbid"):
    """What is counted, and by what."""

    by: Dimension | None = Field(
        default=None, description="How to group. Default: one group of all."
    )
    profile: Text | None = Field(
        default=None, max_length=100, description="The profile's id or name."
    )
    tag: Text | None = Field(default=None, max_length=64)
    created_after: Instant | None = Field(
        default=None,
        description="Only messages accepted at this time or later. Default: 30 days ago.",
    )
    created_before: Instant | None = Field(
        default=None,
        description="Only messages accepted before this time. Default: now. At most"
        " 366 days after `created_after`.",
    )


class StatsGroup(ResponseModel):
    """The recipients of one group."""

    key: str | None = Field(
        description="The profile's name, the tag, the domain, or the start of the hour or day."
    )
    recipients: int
    statuses: dict[RecipientStatus, int] = Field(description="Recipients by status.")
    reports: dict[ReportKind, int] = Field(description="Recipients by kind of report.")

    @classmethod
    def of(cls, count: GroupCount) -> Self:
        count_by_status = {
            status: number
            for status, number in count.statuses.items()
            if status != RecipientStatus.SENDING
        }
        return cls.build(count, statuses=count_by_status)


class StatsRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """Numbers of recipients by status and report."""

    by: Dimension | None
    created_after: datetime
    created_before: datetime
    groups: list[StatsGroup] = Field(
        description="At most 1000 groups, largest first; hours and days in order."
    )


@router.get("/stats", summary="Get delivery statistics")
@problems("profile-not-found")
async def get_stats(
    query: Annotated[StatsQuery, Query()], caller: MessageReader, services: ReadyServices
) -> StatsRead:
    """Count recipients by current status, grouped by profile, tag, domain, hour or day.

    Recipients of messages with several tags count for each tag.
    """
    before = query.created_before or services.now()
    after = query.created_after or before - DEFAULT_SPAN
    if not timedelta(0) <= before - after <= MAX_SPAN:
        msg = "write created_after before created_before, at most 366 days apart"
        raise InvalidRequest.in_query("created_after", msg)

    async def load(connection: AsyncConnection) -> list[GroupCount]:
        profile_id = None
        if query.profile is not None:
            profile_id = await resolve_profile_id(connection, caller, query.profile)
        return await stats.count(
            connection,
            tenant_id=caller.tenant_id,
            dimension=query.by,
            message_filter=MessageFilter(
                profile_id=profile_id,
                tag=query.tag,
                created_after=after,
                created_before=before,
                profile_ids=caller.profiles,
            ),
            now=services.now(),
        )

    counts = await services.replica.read(load, is_analytic=True)
    return StatsRead(
        by=query.by,
        created_after=after,
        created_before=before,
        groups=[StatsGroup.of(count) for count in counts],
    )
