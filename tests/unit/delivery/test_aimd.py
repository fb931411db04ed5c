"""How many connections a server takes well: halved where it throttles, one more with success."""

import pytest

from app.domain.delivery.aimd import Concurrency, is_throttling
from app.domain.outcome.outcome import Outcome, Stage, Verdict
from app.domain.outcome.replies import Reply


def after(start: Concurrency, *seconds: float) -> Concurrency:
    """What is known after so many successes, each of which took so long."""
    for second in seconds:
        start = start.record_success(second)
    return start


def test_throttling_halves_it_down_to_one() -> None:
    """There is always one connection to try with."""
    concurrency = Concurrency(max_connections=10, limit=10)
    limits = []
    for _ in range(5):
        concurrency = concurrency.record_throttling()
        limits.append(concurrency.limit)
    assert limits == [5, 2, 1, 1, 1]


def test_as_many_successes_as_connections_give_one_more() -> None:
    """And never more than the profile allows."""
    concurrency = Concurrency(max_connections=4, limit=2)
    assert after(concurrency, 0.1).limit == 2
    assert after(concurrency, 0.1, 0.1).limit == 3
    assert after(concurrency, *[0.1] * 20).limit == 4


def test_a_server_that_gets_slow_gets_fewer() -> None:
    """Much slower than usual, and slow in itself; one slow answer is not enough."""
    usual = after(Concurrency(max_connections=8, limit=8), *[0.2] * 100)
    assert after(usual, 5.0).limit == 8
    assert after(usual, *[5.0] * 5).limit < 8
    quick = after(Concurrency(max_connections=8, limit=8), *[0.001] * 100)
    assert after(quick, *[0.1] * 20).limit == 8


def test_another_ceiling_is_kept_to() -> None:
    """What was not learnt to be less rises with it."""
    assert Concurrency(max_connections=10, limit=10).with_max_connections(20).limit == 20
    assert Concurrency(max_connections=10, limit=10).with_max_connections(5).limit == 5
    assert Concurrency(max_connections=10, limit=3).with_max_connections(20).limit == 3


@pytest.mark.parametrize(
    ("reply", "throttles"),
    [
        (Reply(421, "Too many concurrent SMTP connections", "4.7.0"), True),
        (Reply(421, "Service not available", "4.3.2"), True),
        (Reply(421, "mx.example.net closing connection"), True),
        (Reply(450, "rate limited", "4.7.28"), True),
        (Reply(452, "Too many messages in this session", "4.5.3"), True),
        (Reply(421, "Idle for too long", "4.4.2"), False),
        (Reply(450, "Greylisted", "4.2.0"), False),
        (Reply(550, "Too many connections", "5.7.1"), False),
        (Reply(250, "Ok"), False),
        (None, False),
    ],
)
def test_a_server_says_that_it_gets_too_much(reply: Reply | None, *, throttles: bool) -> None:
    """By 4yz alone, by its code or its words; an idle time-out is not meant."""
    outcome = Outcome(Stage.MAIL, Verdict.DEFER, "x", reply=reply)
    assert is_throttling(outcome) is throttles
