"""Why a message waits: one reason, in an order of precedence."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from app.domain.delivery.waiting import (
    SERVER_SILENT,
    DestinationPermit,
    LaneFacts,
    NextAttempt,
    WaitReason,
    explain_wait,
)
from app.domain.types import EhloRecommendation, LaneHealth

NOW = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
SOUND = LaneFacts(health=LaneHealth(), has_worker=True)
DUE = NextAttempt()
FAILING = LaneHealth(
    failing_since=NOW,
    code="ehlo_rejected",
    reason="504 5.5.2 need fully-qualified hostname",
    next_probe_at=LATER,
    faults=1,
)

Facts = tuple[NextAttempt, LaneFacts]
# How a message comes to have each reason.
CAUSES: Mapping[WaitReason, Callable[[NextAttempt, LaneFacts], Facts]] = {
    WaitReason.SCHEDULED: lambda attempt, lane: (replace(attempt, send_at=LATER), lane),
    WaitReason.PROFILE_PAUSED: lambda attempt, lane: (attempt, replace(lane, paused_at=NOW)),
    WaitReason.NO_WORKER: lambda attempt, lane: (attempt, replace(lane, has_worker=False)),
    WaitReason.PROFILE_FAILING: lambda attempt, lane: (attempt, replace(lane, health=FAILING)),
    WaitReason.BACKOFF: lambda attempt, lane: (replace(attempt, at=LATER), lane),
    WaitReason.QUOTA: lambda attempt, lane: (attempt, replace(lane, tenant_permit_at=LATER)),
    WaitReason.RATE_LIMITED: lambda attempt, lane: (
        attempt,
        replace(lane, profile_permit_at=LATER),
    ),
    WaitReason.DESTINATION_LIMITED: lambda attempt, lane: (
        replace(attempt, destination=1),
        replace(lane, destination_permits={1: DestinationPermit(("gmail.com",), LATER)}),
    ),
}


@pytest.mark.parametrize("held_up", list(product([False, True], repeat=len(CAUSES))))
def test_the_first_reason_that_applies_is_shown(held_up: tuple[bool, ...]) -> None:
    """For every combination of causes; without any, the message is in turn."""
    assert [*CAUSES, WaitReason.IN_TURN] == list(WaitReason)
    causes = [reason for reason, applies in zip(CAUSES, held_up, strict=True) if applies]
    facts = DUE, SOUND
    for reason in causes:
        facts = CAUSES[reason](*facts)
    waiting = explain_wait(*facts, NOW)
    assert waiting.reason is (causes or [WaitReason.IN_TURN])[0]
    assert waiting.detail


@pytest.mark.parametrize(
    "reason",
    [WaitReason.SCHEDULED, WaitReason.BACKOFF, WaitReason.QUOTA, WaitReason.RATE_LIMITED],
)
def test_a_reason_with_an_end_holds_until_then(reason: WaitReason) -> None:
    """At `until` it no longer applies."""
    facts = CAUSES[reason](DUE, SOUND)
    assert explain_wait(*facts, NOW).until == LATER
    assert explain_wait(*facts, LATER).reason is WaitReason.IN_TURN


def test_a_failing_profile_is_explained_in_the_servers_words() -> None:
    """With the code of the fault, the next probe, and the name that verify recommends."""
    waiting = explain_wait(DUE, replace(SOUND, health=FAILING), NOW)
    assert (waiting.code, waiting.detail, waiting.until) == (
        "ehlo_rejected",
        "504 5.5.2 need fully-qualified hostname",
        LATER,
    )
    name = EhloRecommendation(name="mail.example.com", reason="the server accepts it", found_at=NOW)
    advised = replace(FAILING, recommendation=name)
    detail = explain_wait(DUE, replace(SOUND, health=advised), NOW).detail
    assert "set `ehlo_name` to mail.example.com" in detail


@pytest.mark.parametrize(
    ("fallback_at", "until"),
    [(NOW + timedelta(minutes=1), NOW + timedelta(minutes=1)), (NOW, LATER), (None, LATER)],
)
def test_a_failing_profile_waits_for_its_probe_or_its_fallback(
    fallback_at: datetime | None, until: datetime
) -> None:
    """Whichever comes first; a fallback that already sends takes the message at any time."""
    lane = replace(SOUND, health=FAILING, fallback_at=fallback_at)
    assert explain_wait(DUE, lane, NOW).until == until


def test_a_probe_that_is_due_has_no_known_end() -> None:
    """A time in the past would promise nothing."""
    assert explain_wait(DUE, replace(SOUND, health=FAILING), LATER).until is None


def test_a_silent_server_counts_as_failing() -> None:
    """With its own code."""
    waiting = explain_wait(DUE, replace(SOUND, health=LaneHealth(stalled_since=NOW)), NOW)
    assert (waiting.reason, waiting.code) == (WaitReason.PROFILE_FAILING, SERVER_SILENT)


def test_a_retry_shows_the_last_reply() -> None:
    """And its classification; an attempt without a reply has a sentence."""
    attempt = NextAttempt(at=LATER, last_code="greylisted", last_reply="450 4.7.1 Try later")
    waiting = explain_wait(attempt, SOUND, NOW)
    assert (waiting.code, waiting.detail) == ("greylisted", "450 4.7.1 Try later")
    assert explain_wait(replace(attempt, last_reply=""), SOUND, NOW).detail


@pytest.mark.parametrize(
    ("destination", "detail"),
    [
        (1, "The limit of the destination gmail.com, mx:*.google.com is used up for now."),
        (0, "The profile's ramp is used up for now."),
    ],
)
def test_a_limit_by_destination_names_it(destination: int, detail: str) -> None:
    """Until the later of the destination's and the profile's permits."""
    permits = {
        0: DestinationPermit((), LATER - timedelta(minutes=1)),
        1: DestinationPermit(("gmail.com", "mx:*.google.com"), LATER),
    }
    lane = replace(SOUND, destination_permits=permits)
    waiting = explain_wait(NextAttempt(destination=destination), lane, NOW)
    assert waiting.reason is WaitReason.DESTINATION_LIMITED
    assert waiting.detail == detail
    assert waiting.until == permits[destination].at
