"""When to try again: pure functions of the number of failures and a die."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.delivery.retry import PROBE, Backoff, retry_delay
from app.domain.types import RetryPolicy

MINUTE = timedelta(minutes=1)
HIGHEST = 1 - 2**-53


@pytest.mark.parametrize(
    ("failures", "minutes"),
    [(1, 1), (2, 2), (3, 4), (8, 128), (9, 240), (10, 240), (2000, 240), (10**9, 240)],
)
def test_the_longest_wait_doubles_up_to_its_cap(failures: int, minutes: int) -> None:
    """1 minute to 4 hours, and no number of failures is too many."""
    backoff = Backoff(first=MINUTE, factor=2.0, cap=timedelta(hours=4))
    assert backoff.ceiling(failures) == minutes * MINUTE


@given(st.integers(1, 10_000), st.floats(0, HIGHEST))
def test_a_wait_is_anywhere_up_to_the_longest(failures: int, drawn: float) -> None:
    """Full jitter: many that failed at once do not come back at once."""
    policy = RetryPolicy()
    wait = retry_delay(policy, failures, lambda: drawn, is_greylisted=False)
    ceiling = Backoff(first=MINUTE, factor=2.0, cap=timedelta(hours=4)).ceiling(failures)
    assert timedelta() <= wait <= ceiling


@pytest.mark.parametrize(
    ("policy", "failures", "seconds"),
    [
        (RetryPolicy(first_seconds=10), 1, 5),
        (RetryPolicy(first_seconds=10, factor=3), 3, 45),
        (RetryPolicy(first_seconds=10, factor=1), 50, 5),
        (RetryPolicy(first_seconds=10, factor=10, cap_seconds=100), 9, 50),
    ],
)
def test_a_profile_may_wait_as_it_likes(policy: RetryPolicy, failures: int, seconds: int) -> None:
    """First wait, factor and cap."""
    wait = retry_delay(policy, failures, lambda: 0.5, is_greylisted=False)
    assert wait == timedelta(seconds=seconds)


@pytest.mark.parametrize("drawn", [0.0, 0.5, HIGHEST])
def test_a_greylisted_recipient_waits_some_minutes(drawn: float) -> None:
    """Neither too soon nor too late (RFC 6647 section 5), the first times."""
    wait = retry_delay(RetryPolicy(), 1, lambda: drawn, is_greylisted=True)
    assert 3 * MINUTE <= wait <= 6 * MINUTE
    later = retry_delay(RetryPolicy(), 9, lambda: drawn, is_greylisted=True)
    assert later == retry_delay(RetryPolicy(), 9, lambda: drawn, is_greylisted=False)


@given(st.integers(1, 1000), st.floats(0, HIGHEST))
def test_a_prober_never_hammers(failures: int, drawn: float) -> None:
    """It waits half of the longest at least."""
    wait = PROBE.delay_at_least_half(failures, lambda: drawn)
    assert PROBE.ceiling(failures) / 2 <= wait <= PROBE.ceiling(failures)
