"""Which messages go first, and that the others do not wait for ever."""

from datetime import timedelta
from itertools import pairwise

from app.domain.delivery.priority import HEAD_START
from app.domain.types import Priority


def test_each_priority_overtakes_the_next_by_a_bounded_time() -> None:
    """High before normal before low; who has waited an hour goes before all that came just now."""
    assert list(HEAD_START) == [Priority.HIGH, Priority.NORMAL, Priority.LOW]
    assert all(first > second for first, second in pairwise(HEAD_START.values()))
    assert max(HEAD_START.values()) < timedelta(hours=1)
