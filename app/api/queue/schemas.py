"""Define the JSON of the queue."""

from datetime import datetime
from typing import Any, Final, Self

from pydantic import Field

from app.api.http.fields import RequestModel, ResponseModel, Text
from app.api.http.pagination import Page, Paging
from app.domain.delivery.waiting import SERVER_SILENT, describe_fault
from app.domain.outcome.outcome import Verdict
from app.domain.types import MessageStatus, ProfileState
from app.store.delivery.queue import QueueProfile

EXAMPLE: Final[dict[str, Any]] = {
    "messages": {"scheduled": 2, "queued": 40, "sending": 8, "held": 1},
    "due": 38,
    "oldest_at": "2026-01-15T08:12:44Z",
    "next_attempt_at": "2026-01-15T09:30:20Z",
    "workers": 1,
    "service": {
        "workers": [
            {
                "id": "wrk_0198c5a2d3f07b6e8a4c1d2e3f405162",
                "hostname": "mail-1",
                "pid": 4711,
                "started_at": "2026-01-15T07:00:00Z",
                "seen_at": "2026-01-15T09:29:55Z",
                "leased": 8,
                "leased_until": "2026-01-15T09:30:30Z",
            }
        ],
        "database_bytes": 73400320,
        "purged_at": "2026-01-15T09:00:00Z",
    },
    "throughput": {
        "since": "2026-01-15T09:25:00Z",
        "attempts": {"delivered": 310, "defer": 12, "bounce": 3, "again": 0},
    },
    "items": [
        {
            "profile": "transactional",
            "profile_id": "prf_0198c5a2d3f07b6e8a4c1d2e3f405162",
            "tenant": "acme",
            "tenant_id": "ten_0198c5a2d3f07b6e8a4c1d2e3f405162",
            "state": "failing",
            "failing_since": "2026-01-15T08:14:02Z",
            "code": "ehlo_rejected",
            "reason": "504 5.5.2 need fully-qualified hostname",
            "next_probe_at": "2026-01-15T09:31:10Z",
            "messages": 38,
            "due": 38,
            "due_since": "2026-01-15T08:13:44Z",
            "next_attempt_at": None,
            "attempts": {"delivered": 0, "defer": 4, "bounce": 0, "again": 0},
        }
    ],
    "next_cursor": None,
}
DEPTH_EXAMPLE: Final[dict[str, Any]] = {
    "messages": {"scheduled": 2, "queued": 40, "sending": 8, "held": 1},
    "due": 38,
    "is_complete": True,
}
VERDICTS: Final = (
    "`delivered`, `defer` (Heloise tries again later), `bounce`, `again` (Heloise sends in another"
    " transaction at once)."
)


class DepthQuery(RequestModel):
    """Whose queue to read."""

    profile: Text | None = Field(
        default=None,
        max_length=100,
        description="Only this profile, by id or name. An admin key without `Heloise-Tenant` needs"
        " the id.",
    )


class QueueQuery(DepthQuery, Paging):
    """Whose queue to read, and which page of its profiles."""


class DepthRead(ResponseModel, json_schema_extra={"examples": [DEPTH_EXAMPLE]}):
    """How many messages wait."""

    messages: dict[MessageStatus, int] = Field(
        description="Unfinished messages by status, among the tenant's 10000 oldest. Of all"
        " tenants: among the first 10000 in the order of tenants."
    )
    due: int = Field(description="How many of them are due.")
    is_complete: bool = Field(
        description="Whether Heloise looked at all unfinished messages. If not, each number is the"
        " least that there are."
    )


class WorkerRead(ResponseModel):
    """A delivering process that is alive."""

    id: str
    hostname: str
    pid: int = Field(description="The id of its process on that machine.")
    started_at: datetime
    seen_at: datetime = Field(description="When it sent its last heartbeat.")
    leased: int = Field(
        description="The messages that it is sending, of the 100000 unfinished ones that Heloise"
        " looks at."
    )
    leased_until: datetime | None = Field(
        description="When its last lease ends, unless it renews the lease."
    )


class ServiceRead(ResponseModel):
    """The state of the whole service."""

    workers: list[WorkerRead]
    database_bytes: int = Field(description="The size of the database.")
    purged_at: datetime | None = Field(
        description="Heloise deletes the expired data of one tenant after another. This is the time"
        " of the oldest of these purges. Null: no tenant was purged yet."
    )


class ThroughputRead(ResponseModel):
    """What left the queue in the last minutes."""

    since: datetime = Field(
        description="Five minutes ago; later if there were more than 20000 attempts since then."
    )
    attempts: dict[Verdict, int] = Field(description=f"Attempts by verdict: {VERDICTS}")


class QueueProfileRead(ResponseModel):
    """A profile with waiting messages or a fault."""

    profile: str = Field(description="The profile's name.")
    profile_id: str
    tenant: str = Field(description="The tenant's slug.")
    tenant_id: str
    state: ProfileState
    failing_since: datetime | None = Field(
        description="Since when the profile has been failing, or its server silent."
    )
    code: str | None = Field(description="A stable code of the fault.")
    reason: str | None = Field(
        description="What is wrong, with the server's reply if there was one."
    )
    next_probe_at: datetime | None = Field(description="When Heloise tries the server again.")
    messages: int = Field(
        description="Messages that are scheduled, queued or sending, up to 10000."
    )
    due: int = Field(description="How many of them are due, up to 10000.")
    due_since: datetime | None = Field(
        description="Since when the first of them has been due. Null if none is due."
    )
    next_attempt_at: datetime | None = Field(description="When the next one becomes due.")
    attempts: dict[Verdict, int] = Field(description="Attempts of the last minutes by verdict.")

    @classmethod
    def of(cls, row: QueueProfile, attempts: dict[Verdict, int]) -> Self:
        health = row.health
        is_stalled = health.stalled_since is not None
        return cls.build(
            row,
            profile=row.name,
            profile_id=row.id,
            failing_since=health.failing_since or health.stalled_since,
            code=SERVER_SILENT if is_stalled else health.code,
            reason=describe_fault(health),
            next_probe_at=health.next_probe_at,
            attempts=attempts,
        )


class QueueRead(Page[QueueProfileRead], json_schema_extra={"examples": [EXAMPLE]}):
    """The queue, and its profiles: failing ones first."""

    messages: dict[MessageStatus, int] = Field(
        description="Unfinished messages by status, among the tenant's 100000 oldest. Of all"
        " tenants: among the first 100000 in the order of tenants."
    )
    due: int = Field(description="How many of them are due.")
    oldest_at: datetime | None = Field(description="When the oldest of them was accepted.")
    next_attempt_at: datetime | None = Field(description="When the next one becomes due.")
    workers: int = Field(
        description="Delivering processes that are alive, of all tenants. On PostgreSQL, a worker"
        " that dies is not counted from the moment when its database session ends."
    )
    service: ServiceRead | None = Field(
        description="Workers, database and retention. Only for admin keys without"
        " `Heloise-Tenant`; otherwise null."
    )
    throughput: ThroughputRead
