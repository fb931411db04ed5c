"""Order a profile's messages by priority, without starvation."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from app.domain.types import Priority

# A message is put this much before its time: it overtakes those that waited less than that, and
# none that waited longer. So low ones go as soon as there is nothing else, and starve at no time.
HEAD_START: Final[Mapping[Priority, timedelta]] = {
    Priority.HIGH: timedelta(minutes=10),
    Priority.NORMAL: timedelta(minutes=1),
    Priority.LOW: timedelta(),
}


class Turn(NamedTuple):
    """A message's place in the queue, and when somebody is to look at it first."""

    turn_at: datetime
    due_at: datetime


def compute_turn(send_at: datetime | None, priority: Priority, now: datetime) -> Turn:
    """The turn of what is sent from `send_at` on: at once, where there is none or it is past."""
    starts_at = now if send_at is None else max(now, send_at)
    turn_at = starts_at - HEAD_START[priority]
    return Turn(turn_at, starts_at if starts_at > now else turn_at)
