"""Which due times a worker reads while dead index entries slow full looks down."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.delivery import due_ranges
from app.domain.delivery.due_ranges import DueRange, DueRanges
from app.domain.delivery.priority import compute_turn
from app.domain.ids import EPOCH
from app.domain.types import Priority

NOW = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
AHEAD = timedelta(seconds=1)
SLOW = 0.5


def after(seconds: float) -> datetime:
    """So long after NOW."""
    return NOW + timedelta(seconds=seconds)


class Worker:
    """A worker that knows the profile `prf_1`; `seconds` have passed since its first round."""

    def __init__(self, *, due_at: datetime | None = None, poll_seconds: float = SLOW) -> None:
        self.seconds = 0.0
        self.ranges = DueRanges(lambda: self.seconds)
        for _ in range(2):
            assert self.begin() is None
            self.ranges.note_poll({"prf_1": due_at}, NOW, seconds=poll_seconds)

    def begin(self, seconds: float = 0.0) -> tuple[DueRange, ...] | None:
        """Begin a round so long after the first; what its poll reads of the profile."""
        self.seconds = seconds
        ranges = self.ranges.begin_round(after(seconds), ahead=AHEAD)
        return None if ranges is None else ranges["prf_1"]


def is_within(moment: datetime, ranges: tuple[DueRange, ...]) -> bool:
    """Whether a range has this moment."""
    return any(lower <= moment <= upper for lower, upper in ranges)


def test_each_round_is_full_while_polls_are_quick() -> None:
    """So nothing changes where PostgreSQL removes dead rows."""
    worker = Worker(poll_seconds=due_ranges.SLOW_SECONDS)
    assert worker.begin() is None
    assert worker.ranges.list_to_claim("prf_1", NOW) == ()


def test_a_single_slow_poll_changes_nothing() -> None:
    """The machine may have been busy."""
    worker = Worker(poll_seconds=0)
    worker.ranges.note_poll({"prf_1": None}, NOW, seconds=SLOW)
    assert worker.begin() is None


@pytest.mark.parametrize(("poll_seconds", "pause"), [(0.5, 10), (2, 40), (30, 60)])
def test_after_a_slow_poll_full_rounds_take_a_twentieth_of_the_time(
    poll_seconds: float, pause: float
) -> None:
    """But come once a minute."""
    worker = Worker(poll_seconds=poll_seconds)
    assert worker.begin(pause - 0.1) is not None
    assert worker.begin(pause) is None
    assert worker.ranges.list_to_claim("prf_1", after(pause)) == ()


def test_a_full_round_comes_soon_after_messages_were_freed() -> None:
    """They may be due anywhere; but it does not come at once each time."""
    worker = Worker()
    worker.ranges.note_freed()
    assert worker.begin(0.9) is not None
    assert worker.begin(1) is None
    worker.ranges.note_poll({}, after(1), seconds=SLOW)
    assert worker.begin(10.9) is not None


def test_what_is_freed_during_a_full_poll_is_seen_by_the_next_one() -> None:
    """The poll began before, so it may not have seen it."""
    worker = Worker()
    assert worker.begin(10) is None
    worker.seconds = 10.2
    worker.ranges.note_freed()
    worker.seconds = 10.5
    worker.ranges.note_poll({"prf_1": None}, after(10), seconds=SLOW)
    assert worker.begin(11.4) is not None
    assert worker.begin(11.5) is None


@given(
    looked_at=st.floats(0, 100),
    accepted_after=st.floats(0, 10),
    committed_after=st.floats(0, 1.9),
    polled_after=st.floats(0, 10),
    priority=st.sampled_from(Priority),
    waits=st.none() | st.floats(0, 5),
)
def test_what_was_accepted_since_the_last_look_is_read(
    looked_at: float,
    accepted_after: float,
    committed_after: float,
    polled_after: float,
    priority: Priority,
    waits: float | None,
) -> None:
    """Of any priority, and if it was scheduled; committed up to two seconds after its turn."""
    worker = Worker()
    worker.begin(1)
    worker.ranges.note_claim("prf_1", after(looked_at), rest_at=None)
    accepted_at = after(looked_at + accepted_after - committed_after)
    send_at = None if waits is None else accepted_at + timedelta(seconds=waits)
    turn = compute_turn(send_at, priority, accepted_at)
    now = after(looked_at + accepted_after + polled_after)
    ranges = worker.ranges.list_to_claim("prf_1", now)
    assert is_within(turn.due_at, ranges) or turn.due_at > now


def test_what_is_due_before_the_next_poll_is_read_ahead() -> None:
    """So that the scheduler wakes for it."""
    ranges = Worker().begin(1)
    assert ranges is not None
    assert is_within(after(2), ranges)
    assert not is_within(after(2.1), ranges)


def test_an_empty_queue_is_read_in_few_seconds_of_due_times() -> None:
    """However long the queue was: those after which dead entries were left are not read."""
    ranges = Worker().begin(1)
    assert ranges is not None
    assert sum((upper - lower for lower, upper in ranges), timedelta()) == timedelta(seconds=10)
    assert not is_within(after(-30), ranges)
    assert not is_within(after(-300), ranges)


def test_what_a_claim_left_is_read_from_there_on() -> None:
    """And nothing before, apart from the turns of what was accepted since."""
    worker = Worker()
    worker.begin(1)
    worker.ranges.note_claim("prf_1", NOW, rest_at=after(-120))
    ranges = worker.ranges.list_to_claim("prf_1", after(1))
    assert is_within(after(-120), ranges)
    assert is_within(after(-61), ranges)
    assert is_within(after(-600), ranges)
    assert not is_within(after(-121), ranges)


def test_what_a_full_poll_found_is_still_read_if_nobody_claims_it() -> None:
    """The profile may be paused, or its lane have no room."""
    worker = Worker(due_at=after(-3600))
    for seconds in (1, 2, 3):
        ranges = worker.begin(seconds)
        assert ranges is not None
        assert is_within(after(-3600), ranges)
        worker.ranges.note_poll({"prf_1": after(-3600)}, after(seconds), seconds=0)


def test_a_profile_that_was_never_looked_at_is_read_from_its_beginning() -> None:
    """A poll in ranges has found it."""
    worker = Worker()
    worker.begin(1)
    worker.ranges.note_poll({"prf_2": after(-9)}, after(1), seconds=0)
    assert worker.ranges.list_to_claim("prf_2", after(1)) == (DueRange(EPOCH, after(1)),)


def test_ranges_do_not_overlap() -> None:
    """Otherwise a claim would return a message twice."""
    worker = Worker()
    worker.begin(1)
    for rest_at in (None, after(-1000), after(-601), after(-30), NOW, after(30)):
        worker.ranges.note_claim("prf_1", NOW, rest_at=rest_at)
        for seconds in (-100, 0, 1, 59, 700):
            ranges = worker.ranges.list_to_claim("prf_1", after(seconds))
            assert all(lower <= upper for lower, upper in ranges)
            assert all(first.upper < second.lower for first, second in pairwise(ranges))
