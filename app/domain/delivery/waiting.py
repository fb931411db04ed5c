"""Decide why a message waits: the first of the reasons, in their order of precedence.

Reasons that need a person come before those that end by themselves. Only `scheduled` comes first: a
fault of today says little about a message for tomorrow.
"""

from collections.abc import Iterator, Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Final

from app.domain.delivery.destinations import NO_DESTINATION
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.types import LaneHealth

SERVER_SILENT: Final = "server_silent"
SILENT_REASON: Final = (
    "The server has been silent on every connection, each for more than 30 seconds. Heloise tries"
    " one more; `timeouts` end the silent ones."
)
# A server may refuse the EHLO name by closing the connection.
NAME_FAULTS: Final = frozenset({"ehlo_rejected", "connection_lost"})


class WaitReason(StrEnum):
    """Why a message is not sent now.

    `rate_limited` is the profile's rate limit, `quota` the tenant's, `destination_limited` a limit
    of the recipients' destination, or the profile's ramp.
    """

    SCHEDULED = "scheduled"
    PROFILE_PAUSED = "profile_paused"
    NO_WORKER = "no_worker"
    PROFILE_FAILING = "profile_failing"
    BACKOFF = "backoff"
    QUOTA = "quota"
    RATE_LIMITED = "rate_limited"
    DESTINATION_LIMITED = "destination_limited"
    IN_TURN = "in_turn"


@frozen_dataclass
class Waiting:
    """Why a message waits; `until` is when Heloise tries next, if that is known.

    `code` is stable: the fault of a failing profile, or the classification of the last reply.
    """

    reason: WaitReason
    detail: str
    until: datetime | None = None
    code: str | None = None


@frozen_dataclass
class DestinationPermit:
    """When the limits of a destination next allow a recipient; no `match`: of the whole profile."""

    match: tuple[str, ...]
    at: datetime


@frozen_dataclass(kw_only=True)
class LaneFacts:
    """What the database knows about a profile's lane.

    From `fallback_at` on, another profile sends. The permits are when a rate limit next allows a
    message; those of destinations are by number.
    """

    health: LaneHealth
    has_worker: bool
    paused_at: datetime | None = None
    fallback_at: datetime | None = None
    profile_permit_at: datetime | None = None
    tenant_permit_at: datetime | None = None
    destination_permits: Mapping[int, DestinationPermit] = field(default_factory=dict)


@frozen_dataclass(kw_only=True)
class NextAttempt:
    """What is known about a message's next attempt, or a recipient's.

    `at` is the time of a retry, after the reply in `last_reply`. `destination` is the number of the
    queue that the message waits in.
    """

    send_at: datetime | None = None
    at: datetime | None = None
    last_code: str | None = None
    last_reply: str | None = None
    destination: int = NO_DESTINATION


def explain_wait(attempt: NextAttempt, lane: LaneFacts, now: datetime) -> Waiting:
    """Return the first reason that applies; a message that nothing holds up is `in_turn`."""
    return next(_list_reasons(attempt, lane, now))


def _list_reasons(attempt: NextAttempt, lane: LaneFacts, now: datetime) -> Iterator[Waiting]:
    """Yield the reasons that apply, in the order of `WaitReason`."""
    if attempt.send_at is not None and attempt.send_at > now:
        detail = "Heloise sends the message at `send_at`."
        yield Waiting(WaitReason.SCHEDULED, detail, attempt.send_at)
    if lane.paused_at is not None:
        detail = "The profile is paused. Resume it with POST /profiles/{profile}/resume."
        yield Waiting(WaitReason.PROFILE_PAUSED, detail)
    if not lane.has_worker:
        run = "Run `heloise worker`, or `heloise serve` without --no-delivery."
        yield Waiting(WaitReason.NO_WORKER, f"No process delivers. {run}")
    yield from _explain_fault(lane, now)
    if attempt.at is not None and attempt.at > now:
        detail = attempt.last_reply or "The last attempt failed, and Heloise tries again."
        yield Waiting(WaitReason.BACKOFF, detail, attempt.at, attempt.last_code)
    yield from _list_limits(attempt, lane, now)
    detail = (
        "Nothing holds the message up. Other messages of the profile go first, or a worker is about"
        " to take it."
    )
    yield Waiting(WaitReason.IN_TURN, detail)


def describe_fault(health: LaneHealth) -> str | None:
    """Describe the fault of a profile, with the EHLO name that verify recommends."""
    if health.stalled_since is not None:
        return SILENT_REASON
    ehlo = health.recommendation
    if ehlo is None or health.code not in NAME_FAULTS:
        return health.reason
    return f"{health.reason} Verify found a name: set `ehlo_name` to {ehlo.name} ({ehlo.reason})."


def _explain_fault(lane: LaneFacts, now: datetime) -> Iterator[Waiting]:
    detail = describe_fault(lane.health)
    if detail is None:
        return
    if lane.health.failing_since is None:
        yield Waiting(WaitReason.PROFILE_FAILING, detail, code=SERVER_SILENT)
        return
    moments = (lane.health.next_probe_at, lane.fallback_at)
    until = min((moment for moment in moments if moment is not None and moment > now), default=None)
    yield Waiting(WaitReason.PROFILE_FAILING, detail, until, lane.health.code)


def _list_limits(attempt: NextAttempt, lane: LaneFacts, now: datetime) -> Iterator[Waiting]:
    if lane.tenant_permit_at is not None and lane.tenant_permit_at > now:
        detail = "The tenant's rate limit is used up for now."
        yield Waiting(WaitReason.QUOTA, detail, lane.tenant_permit_at)
    if lane.profile_permit_at is not None and lane.profile_permit_at > now:
        detail = "The profile's rate limit is used up for now."
        yield Waiting(WaitReason.RATE_LIMITED, detail, lane.profile_permit_at)
    permits = [
        permit
        for number in {NO_DESTINATION, attempt.destination}
        if (permit := lane.destination_permits.get(number)) is not None and permit.at > now
    ]
    if permits:
        last = max(permits, key=lambda permit: permit.at)
        of_one = f"limit of the destination {', '.join(last.match)}"
        limit = of_one if last.match else "profile's ramp"
        detail = f"The {limit} is used up for now."
        yield Waiting(WaitReason.DESTINATION_LIMITED, detail, last.at)
