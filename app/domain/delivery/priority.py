"""Decide whose turn it is: by priority without starvation, and round robin."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

from app.domain.types import Priority

Item = TypeVar("Item")

# A head start in the queue: a message overtakes those that waited less than this, and none that
# waited longer. So low priority never starves.
HEAD_START: Final[Mapping[Priority, timedelta]] = {
    Priority.HIGH: timedelta(minutes=10),
    Priority.NORMAL: timedelta(minutes=1),
    Priority.LOW: timedelta(),
}


class Turn(NamedTuple):
    """A message's place in the queue, and when it is first due."""

    turn_at: datetime
    due_at: datetime


def compute_turn(send_at: datetime | None, priority: Priority, now: datetime) -> Turn:
    """Compute the turn of a message for `send_at`; None or a past time means now."""
    starts_at = now if send_at is None else max(now, send_at)
    turn_at = starts_at - HEAD_START[priority]
    return Turn(turn_at, starts_at if starts_at > now else turn_at)


def order_by_turn(
    items: Iterable[Item], *, group: Callable[[Item], Hashable], moment: Callable[[Item], Any]
) -> list[Item]:
    """Order round robin over groups: each one's first item, then the second, soonest first."""
    turns, ranked = Counter[Hashable](), list[tuple[int, Item]]()
    for item in sorted(items, key=moment):
        ranked.append((turns[group(item)], item))
        turns[group(item)] += 1
    return [item for _, item in sorted(ranked, key=lambda entry: entry[0])]
