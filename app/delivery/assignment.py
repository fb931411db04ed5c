"""Assign due messages to lanes, in fair order, split by transaction."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.delivery.lane import Lane
from app.domain.delivery.priority import order_by_turn
from app.store.delivery.lanes import WaitingLane


@dataclass(frozen=True, slots=True)
class Assignment:
    """A profile's due messages, and their lane: its own or its fallback's."""

    lane: Lane
    source: WaitingLane

    @property
    def is_own(self) -> bool:
        """Whether the lane is that of the profile itself."""
        return self.source.profile_id == self.lane.profile_id

    @property
    def is_probe(self) -> bool:
        """Whether one message tests if the profile's fault is over."""
        return self.source.is_failing and self.is_own

    @property
    def is_plain(self) -> bool:
        """Whether only the lane's room limits it."""
        return self.is_own and not self.is_probe and not self.lane.config.has_limits

    @property
    def has_destinations(self) -> bool:
        """Whether limits by destination hold, or the messages wait in queues of destinations."""
        return self.lane.config.profile.has_destination_limits or bool(self.source.queues)

    @property
    def has_room(self) -> bool:
        """Whether the lane can take a message of a queue with due messages."""
        return self.lane.may_ask and (
            not self.source.queues
            or not self.is_own
            or any(map(self.lane.may_ask_for, self.source.queues))
        )


def split_by_transaction(assignments: Sequence[Assignment]) -> Iterator[list[Assignment]]:
    """Yield the plain assignments together, then every other assignment alone.

    Two transactions that lock the rate limits of several tenants in different order would deadlock.
    """
    if plain := [assignment for assignment in assignments if assignment.is_plain]:
        yield plain
    yield from ([assignment] for assignment in assignments if not assignment.is_plain)


def order_lanes(waiting: Iterable[WaitingLane]) -> list[WaitingLane]:
    """Order lanes round robin over tenants, soonest first."""
    return order_by_turn(waiting, group=lambda due: due.tenant_id, moment=lambda due: due.due_at)
