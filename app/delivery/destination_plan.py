"""Plan which due messages leave now, within the limits of their recipients' destinations.

Theory of operation
===================

Each destination of a profile has its own queue, and the queue 0 holds what belongs to no single
destination: new messages, and messages to several. A claim takes from the queues whose limits have
permits, so messages that wait in one queue cost the others nothing.

A message of queue 0 that cannot leave moves to the queue of its destination, where it keeps its
turn. So a claim looks at it once, however many wait. A message to several destinations goes to the
recipients whose limits allow it; the others stay as they are, with no attempt used. If none may
have it, it waits for the first permit, but at most a minute before a claim looks at it again. So
does a message whose destination the DNS could not tell.

Destinations take turns: each one's first message goes before any second one.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from app.domain.delivery.destination_limit import ANY_NUMBER, DestinationLimit
from app.domain.delivery.destinations import NO_DESTINATION, find_domain
from app.domain.delivery.priority import order_by_turn
from app.store.outbox.claims import ClaimedMessage, ClaimedRecipient

# Lookups take less as a rule; the claim after that finds their results.
LOOKUP_WAIT: Final = timedelta(seconds=1)
# A message that waits in queue 0 leaves the next claims to others, and is looked at again soon: a
# limit may change, and a claim looks at a bounded number.
MIN_WAIT: Final = timedelta(seconds=2)
MAX_WAIT: Final = timedelta(seconds=50)  # clamping takes more than a minute for a wrong clock

# Returns the number of a domain's destination; None: not known yet.
FindNumber = Callable[[str], int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A due message whose row is locked: `groups` are its due recipients by destination.

    `numbers` are the destinations of all its open recipients. `is_over`: it needs no server, only a
    settlement. `unknown` are domains whose destination is not known yet; with `is_guess`, the DNS
    did not answer for another one. `next_attempt_at` is when the first of the other recipients is
    due.
    """

    row: Any
    groups: Mapping[int, Sequence[int]]
    numbers: frozenset[int]
    unknown: frozenset[str]
    next_attempt_at: datetime | None
    is_over: bool
    is_guess: bool = False


def build_candidate(
    row: Any,  # noqa: ANN401 - a row of the query
    recipients: Sequence[ClaimedRecipient],
    find_number: FindNumber,
    now: datetime,
    is_unresolved: Callable[[str], bool] = lambda _: False,
) -> Candidate:
    """Group the recipients of a message by destination."""
    groups: dict[int, list[int]] = {}
    numbers, unknown, later, is_guess = set[int](), set[str](), list[datetime](), False
    for recipient in recipients:
        if not recipient.is_open:
            continue
        domain = find_domain(recipient.address)
        is_guess |= is_unresolved(domain)
        number = find_number(domain)
        if number is None:
            unknown.add(domain)
            continue
        numbers.add(number)
        if recipient.next_attempt_at is None or recipient.next_attempt_at <= now:
            groups.setdefault(number, []).append(recipient.position)
        else:
            later.append(recipient.next_attempt_at)
    return Candidate(
        row=row,
        groups=groups,
        numbers=frozenset(numbers),
        unknown=frozenset(unknown),
        next_attempt_at=min(later, default=None),
        is_over=not (groups or unknown) or row.expires_at <= now,
        is_guess=is_guess,
    )


@dataclass(slots=True, kw_only=True)
class Plan:
    """What a claim does: `allowed` recipients and the limited destination of each leased message.

    `moves` are messages and their queues, `delays` messages and how long they wait.
    """

    rows: list[Any] = field(default_factory=list)
    allowed: dict[str, Mapping[int, int]] = field(default_factory=dict)
    limited: dict[str, int] = field(default_factory=dict)
    moves: dict[str, int] = field(default_factory=dict)
    delays: dict[str, datetime] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Planner:
    """Spends what is left of the limits on candidates.

    `rooms` says how many messages the lane can take for each destination that limits connections.
    Messages stay in their queues unless `has_queues`: a fallback profile keeps to its own limits,
    but its messages wait in the queues of their own profile.
    """

    limits: dict[int, DestinationLimit]
    rooms: dict[int, int]
    max_messages: int
    max_bytes: int
    max_recipients: int | None
    has_queues: bool
    now: datetime
    plan: Plan = field(default_factory=Plan)
    size_bytes: int = 0
    recipient_count: int = 0
    waiting: Counter[int] = field(default_factory=Counter)

    def build(self, candidates: Iterable[Candidate]) -> Plan:
        """Decide about each candidate, in fair order."""
        for candidate in order_by_turn(
            candidates,
            group=lambda candidate: candidate.numbers,
            moment=lambda candidate: (candidate.row.due_at, candidate.row.id),
        ):
            allowed = {} if self._is_full else self._allow(candidate)
            if allowed or (candidate.is_over and not self._is_full):
                self._lease(candidate, allowed)
            else:
                self._hold(candidate)
        return self.plan

    @property
    def _is_full(self) -> bool:
        return (
            len(self.plan.rows) >= self.max_messages
            or self.size_bytes >= self.max_bytes
            or (self.max_recipients is not None and self.recipient_count >= self.max_recipients)
        )

    def _allow(self, candidate: Candidate) -> dict[int, int]:
        """Return the recipients that may have the message now, and their destinations.

        Those of a destination that limits connections go alone: its server may be slow.
        """
        if candidate.is_over:
            return {}
        free = [number for number in candidate.groups if number not in self.rooms]
        allowed: dict[int, int] = {}
        for number in free:
            allowed |= self._grant(number, candidate.groups[number])
        if allowed:
            return allowed
        for number in candidate.groups:
            if number in self.rooms and (allowed := self._grant(number, candidate.groups[number])):
                self.rooms[number] -= 1
                self.plan.limited[candidate.row.id] = number
                return allowed
        return {}

    def _grant(self, number: int, positions: Sequence[int]) -> dict[int, int]:
        limit, whole = self.limits[number], self.limits[NO_DESTINATION]
        count = min(len(positions), limit.count_recipients(), whole.count_recipients())
        if limit.count_messages() == 0 or self.rooms.get(number, ANY_NUMBER) <= 0 or count == 0:
            return {}
        spend(self.limits, {number: count})
        return dict.fromkeys(positions[:count], number)

    def _lease(self, candidate: Candidate, allowed: Mapping[int, int]) -> None:
        row = candidate.row
        self.plan.rows.append(row)
        self.plan.allowed[row.id] = allowed
        self.size_bytes += row.size_bytes
        self.recipient_count += len(allowed)

    def _hold(self, candidate: Candidate) -> None:
        """Let a message wait in the queue of its destination, or else until its next permit."""
        row = candidate.row
        if candidate.unknown:
            self.plan.delays[row.id] = self.now + LOOKUP_WAIT
        elif self.has_queues and len(candidate.numbers) == 1 and not candidate.is_guess:
            (number,) = candidate.numbers
            if number != row.destination:
                self.plan.moves[row.id] = number
        elif candidate.groups and not self._is_full:
            moment = self._next_permit_at(candidate)
            self.plan.delays[row.id] = min(max(moment, self.now + MIN_WAIT), self.now + MAX_WAIT)

    def _next_permit_at(self, candidate: Candidate) -> datetime:
        """Return when the first destination of a message should have a permit for it.

        The messages of one claim spread out, as they would otherwise all come back for one permit.
        """
        moments = [] if candidate.next_attempt_at is None else [candidate.next_attempt_at]
        for number in candidate.groups:
            waiting = self.waiting[number]
            limit = self.limits[number].spend(messages=waiting, recipients=waiting)
            whole = self.limits[NO_DESTINATION]
            moments.append(max(limit.next_permit_at(self.now), whole.next_permit_at(self.now)))
        self.waiting.update(list(candidate.groups))
        return min(moments)


def spend(limits: dict[int, DestinationLimit], recipients: Mapping[int, int]) -> None:
    """Take a message with so many recipients per destination from the limits."""
    for number, count in recipients.items():
        limits[number] = limits[number].spend(messages=1, recipients=count)
        if number != NO_DESTINATION:
            limits[NO_DESTINATION] = limits[NO_DESTINATION].spend(messages=1, recipients=count)


def spend_messages(
    limits: Mapping[int, DestinationLimit], messages: Iterable[ClaimedMessage]
) -> list[DestinationLimit]:
    """Return the limits that change by these messages, less what they take."""
    left = dict(limits)
    for message in messages:
        allowed = message.allowed or {}
        spend(
            left,
            Counter(
                allowed[recipient.position]
                for recipient in message.recipients
                if recipient.is_open and recipient.position in allowed
            ),
        )
    return [limit for number, limit in left.items() if limit != limits[number]]
