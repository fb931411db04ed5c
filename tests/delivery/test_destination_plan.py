"""What a claim does with messages that may not leave now."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

from app.delivery.destination_plan import (
    MAX_WAIT,
    MIN_WAIT,
    Candidate,
    Plan,
    Planner,
    build_candidate,
)
from app.domain.delivery.destination_limit import DestinationLimit, list_limits
from app.domain.delivery.token_bucket import Bucket
from app.domain.types import Destination, RateLimit
from tests.delivery.builders import queued_recipient
from tests.support.rows import NOW

A_DAY = RateLimit(1, 86_400)
LIMITS = list_limits(None, [Destination(number=number, match=("*",)) for number in (1, 2)])
USED_UP = DestinationLimit(number=1, rate_limit=A_DAY, rate_bucket=Bucket(0.0, NOW))


def candidate(*numbers: int, is_guess: bool = False) -> Candidate:
    """A new message with a recipient of each of these destinations."""
    row = SimpleNamespace(id="msg_1", due_at=NOW, destination=0, size_bytes=1)
    return Candidate(
        row=row,
        groups={number: [number] for number in numbers},
        numbers=frozenset(numbers),
        unknown=frozenset(),
        next_attempt_at=None,
        is_over=False,
        is_guess=is_guess,
    )


def plan_of(message: Candidate, *, has_queues: bool = True, **changes: object) -> Plan:
    """The plan for one message."""
    planner = Planner(
        limits=LIMITS,
        rooms={},
        max_messages=10,
        max_bytes=1000,
        max_recipients=None,
        has_queues=has_queues,
        now=NOW,
    )
    return replace(planner, **changes).build([message])


def test_a_message_waits_for_the_room_of_both_its_destinations() -> None:
    """Due at once, it would be looked at in each claim, before the messages behind it."""
    plan = plan_of(candidate(1, 2), rooms={1: 0, 2: 0})
    assert plan.delays == {"msg_1": NOW + MIN_WAIT}
    assert plan.rows == []


def test_a_guess_moves_no_message() -> None:
    """The DNS did not answer: once it does, the message may be of another destination."""
    limits = LIMITS | {1: USED_UP}
    assert plan_of(candidate(1), limits=dict(limits)).moves == {"msg_1": 1}
    plan = plan_of(candidate(1, is_guess=True), limits=dict(limits))
    assert (plan.moves, plan.delays) == ({}, {"msg_1": NOW + MAX_WAIT})


def test_the_limit_of_a_fallback_delays_by_less_than_a_minute() -> None:
    """The message's own profile may work again before."""
    plan = plan_of(candidate(1), limits=LIMITS | {1: USED_UP}, has_queues=False)
    assert plan.delays == {"msg_1": NOW + MAX_WAIT}
    assert timedelta(minutes=1) > MAX_WAIT


def test_a_message_is_over_at_the_moment_it_expires() -> None:
    """As the store has it: a claim leases it to end it, whatever the limits allow."""
    to = [queued_recipient(0, "ann@example.org")]
    for seconds, is_over in ((0, True), (1, False)):
        row = SimpleNamespace(expires_at=NOW + timedelta(seconds=seconds))
        made = build_candidate(row, to, lambda _: 1, NOW, lambda _: False)
        assert made.is_over is is_over
