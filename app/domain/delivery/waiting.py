"""Decide why a message waits: a table of reasons in their order of precedence.

Reasons that need a person come before those that end by themselves. Only `scheduled` comes first: a
fault of today says little about a message for tomorrow.
"""

from collections.abc import Callable, Mapping
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
    for explain in REASONS.values():
        if (waiting := explain(attempt, lane, now)) is not None:
            return waiting
    raise AssertionError("the last reason always applies")


def describe_fault(health: LaneHealth) -> str | None:
    """Describe the fault of a profile, with the EHLO name that verify recommends."""
    if health.stalled_since is not None:
        return SILENT_REASON
    ehlo = health.recommendation
    if ehlo is None or health.code not in NAME_FAULTS:
        return health.reason
    return f"{health.reason} Verify found a name: set `ehlo_name` to {ehlo.name} ({ehlo.reason})."


def _scheduled(attempt: NextAttempt, _: LaneFacts, now: datetime) -> Waiting | None:
    if attempt.send_at is None or attempt.send_at <= now:
        return None
    detail = "Heloise sends the message at `send_at`."
    return Waiting(WaitReason.SCHEDULED, detail, attempt.send_at)


def _paused(_: NextAttempt, lane: LaneFacts, __: datetime) -> Waiting | None:
    if lane.paused_at is None:
        return None
    detail = "The profile is paused. Resume it with POST /profiles/{profile}/resume."
    return Waiting(WaitReason.PROFILE_PAUSED, detail)


def _no_worker(_: NextAttempt, lane: LaneFacts, __: datetime) -> Waiting | None:
    if lane.has_worker:
        return None
    detail = "No process delivers. Run `heloise worker`, or `heloise serve` without --no-delivery."
    return Waiting(WaitReason.NO_WORKER, detail)


def _failing(_: NextAttempt, lane: LaneFacts, now: datetime) -> Waiting | None:
    detail = describe_fault(lane.health)
    if detail is None:
        return None
    if lane.health.failing_since is None:
        return Waiting(WaitReason.PROFILE_FAILING, detail, code=SERVER_SILENT)
    moments = (lane.health.next_probe_at, lane.fallback_at)
    until = min((moment for moment in moments if moment is not None and moment > now), default=None)
    return Waiting(WaitReason.PROFILE_FAILING, detail, until, lane.health.code)


def _backoff(attempt: NextAttempt, _: LaneFacts, now: datetime) -> Waiting | None:
    if attempt.at is None or attempt.at <= now:
        return None
    detail = attempt.last_reply or "The last attempt failed, and Heloise tries again."
    return Waiting(WaitReason.BACKOFF, detail, attempt.at, attempt.last_code)


def _quota(_: NextAttempt, lane: LaneFacts, now: datetime) -> Waiting | None:
    if lane.tenant_permit_at is None or lane.tenant_permit_at <= now:
        return None
    detail = "The tenant's rate limit is used up for now."
    return Waiting(WaitReason.QUOTA, detail, lane.tenant_permit_at)


def _rate_limited(_: NextAttempt, lane: LaneFacts, now: datetime) -> Waiting | None:
    if lane.profile_permit_at is None or lane.profile_permit_at <= now:
        return None
    detail = "The profile's rate limit is used up for now."
    return Waiting(WaitReason.RATE_LIMITED, detail, lane.profile_permit_at)


def _destination_limited(attempt: NextAttempt, lane: LaneFacts, now: datetime) -> Waiting | None:
    permits = [
        permit
        for number in {NO_DESTINATION, attempt.destination}
        if (permit := lane.destination_permits.get(number)) is not None and permit.at > now
    ]
    if not permits:
        return None
    last = max(permits, key=lambda permit: permit.at)
    whose = f"limit of the destination {', '.join(last.match)}" if last.match else "profile's ramp"
    detail = f"The {whose} is used up for now."
    return Waiting(WaitReason.DESTINATION_LIMITED, detail, last.at)


def _in_turn(_: NextAttempt, __: LaneFacts, ___: datetime) -> Waiting | None:
    return Waiting(
        WaitReason.IN_TURN,
        "Nothing holds the message up. Other messages of the profile go first, or a worker is about"
        " to take it.",
    )


REASONS: Final[
    Mapping[WaitReason, Callable[[NextAttempt, LaneFacts, datetime], Waiting | None]]
] = {
    WaitReason.SCHEDULED: _scheduled,
    WaitReason.PROFILE_PAUSED: _paused,
    WaitReason.NO_WORKER: _no_worker,
    WaitReason.PROFILE_FAILING: _failing,
    WaitReason.BACKOFF: _backoff,
    WaitReason.QUOTA: _quota,
    WaitReason.RATE_LIMITED: _rate_limited,
    WaitReason.DESTINATION_LIMITED: _destination_limited,
    WaitReason.IN_TURN: _in_turn,
}
