"""Hand an accepted message to a lane in memory, already leased.

If the lane has room and no backlog, the accepting process delivers at once. A crash in between
leaves a lease that expires like any other (invariant 3).
"""

from collections.abc import Sequence

from app.delivery.claims import Claims
from app.delivery.lane import Lane
from app.delivery.leases import Leases
from app.domain.clock import Clock
from app.domain.delivery.metrics import Facts
from app.domain.types import NewMessage
from app.store.outbox.queries import ClaimedMessage, Lease


class Handover:
    """Reserves room in the lanes of one engine for messages that are about to be written."""

    def __init__(self, claims: Claims, *, leases: Leases, clock: Clock, facts: Facts) -> None:
        self._claims = claims
        self._leases = leases
        self._clock = clock
        self._facts = facts
        self._reserved: dict[str, Lane] = {}

    def reserve(self, messages: Sequence[NewMessage]) -> Lease:
        """The lease for new messages; it covers only those whose lane has room."""
        for message in messages:
            lane = self._claims.direct_lane(message.profile_id)
            # Another revision has another identity, or is paused: that is looked up first.
            is_known = lane is not None and lane.config.profile.revision == message.profile_revision
            if lane is not None and is_known and lane.room > 0 and not message.is_scheduled:
                lane.reserved += 1
                self._reserved[message.id] = lane
        return Lease(
            owner=self._leases.owner,
            until=self._clock.now() + self._leases.length,
            message_ids=frozenset(m.id for m in messages if m.id in self._reserved),
        )

    def withdraw(self, lease: Lease) -> None:
        """They were not written, or without the lease; what was handed over stays so."""
        for message_id in lease.message_ids:
            if (lane := self._reserved.pop(message_id, None)) is not None:
                lane.reserved -= 1

    def hand_over(self, messages: Sequence[NewMessage], lease: Lease) -> None:
        """Called after the commit: give the leased messages to their lanes."""
        self._leases.add(lease.message_ids, lease.until)
        taken: dict[Lane, list[ClaimedMessage]] = {}
        for message in messages:
            if message.id in lease.message_ids:
                lane = self._reserved.pop(message.id)
                lane.reserved -= 1
                taken.setdefault(lane, []).append(ClaimedMessage.of_new(message))
        for lane, claimed in taken.items():
            self._claims.take(lane, claimed)
        if lease.message_ids:
            self._facts.group("handover", len(lease.message_ids))
