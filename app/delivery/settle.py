"""Settle outcomes: many in one transaction."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.delivery.attempt import Attempts
from app.domain.delivery.metrics import Facts
from app.domain.delivery.retry import PROBE, Random, retry_delay
from app.domain.delivery.status import FINAL, RecipientEvent, message_status, next_status
from app.domain.errors import Unavailable
from app.domain.outcome.outcome import GREYLISTED, OUTCOME_UNKNOWN, Blast, Outcome, Stage, Verdict
from app.domain.types import Guarantee, RecipientStatus, RetryPolicy
from app.domain.value import value
from app.store.db.engine import Database
from app.store.db.errors import RolledBack
from app.store.delivery import lanes
from app.store.outbox import queries as outbox
from app.store.outbox import results as outcomes
from app.store.outbox.queries import ClaimedMessage, ClaimedRecipient
from app.store.outbox.results import RecipientUpdate, Settlement

log = logging.getLogger(__name__)

EVENTS: Final = {
    Verdict.DELIVERED: RecipientEvent.DELIVER,
    Verdict.DEFER: RecipientEvent.DEFER,
    Verdict.BOUNCE: RecipientEvent.BOUNCE,
}
BROKEN_OFF: Final = Outcome(Stage.DOT, Verdict.DEFER, OUTCOME_UNKNOWN, blast=Blast.MESSAGE)
NOT_AGAIN: Final = (
    "not sent again: whether the earlier transmissions arrived is unknown (the profile's"
    " retry.max_unknown_outcomes)"
)
MAX_GROUP: Final = 200
RETRY_SECONDS: Final = 1.0
# With what the lanes have in hand this bounds what a worker remembers while it cannot write.
MAX_WAITING: Final = 5_000


def settlement(
    attempts: Attempts, *, retry: RetryPolicy, now: datetime, random: Random
) -> Settlement:
    """The rows to write: who is decided moves on, the others stand as before (invariant 4).

    A recipient whose body went out under `at_most_once` without an answer is uncertain, whatever
    stopped the work.
    """
    message = attempts.message
    decided = dict.fromkeys(attempts.marked, BROKEN_OFF) | attempts.outcomes
    updates = tuple(
        _update(each, decided[each.position], attempts, retry=retry, now=now, random=random)
        for each in message.recipients
        if each.position in decided
    )
    after = {each.position: (each.status, each.next_attempt_at) for each in message.recipients}
    after |= {each.position: (each.status, each.next_attempt_at) for each in updates}
    status = message_status(status for status, _ in after.values())
    due = None if status is not None else _due_at(after.values(), now)
    return Settlement(
        message_id=message.id,
        recipients=updates,
        status=status,
        due_at=due,
        attempts=tuple(_told(attempts, updates)),
    )


def _told(attempts: Attempts, updates: Iterable[RecipientUpdate]) -> Iterator[Mapping[str, Any]]:
    """The attempts' rows; one whose outcome is not known says where it is the last for that."""
    is_enough = attempts.message.guarantee is Guarantee.AT_LEAST_ONCE and any(
        each.status is RecipientStatus.UNCERTAIN for each in updates
    )
    for row in attempts.rows:
        if is_enough and row["outcome_unknown"]:
            yield {**row, "detail": "; ".join(filter(None, [row["detail"], NOT_AGAIN]))}
        else:
            yield row


def _due_at(after: Iterable[tuple[RecipientStatus, datetime | None]], now: datetime) -> datetime:
    """When the first unfinished recipient has its turn; one never tried has it now."""
    return min(next_at or now for status, next_at in after if status not in FINAL)


def _update(
    recipient: ClaimedRecipient,
    outcome: Outcome,
    attempts: Attempts,
    *,
    retry: RetryPolicy,
    now: datetime,
    random: Random,
) -> RecipientUpdate:
    message, count = attempts.message, recipient.attempts + 1
    event = EVENTS[outcome.verdict]
    unknown = recipient.unknown_outcomes + outcome.outcome_unknown
    if outcome.outcome_unknown and _is_enough(message, unknown, retry):
        event = RecipientEvent.MARK
    status = next_status(recipient.status, event)
    next_attempt_at = None
    if status is RecipientStatus.DEFERRED:
        is_greylisted = outcome.classification == GREYLISTED
        delay = retry_delay(retry, count, random, is_greylisted=is_greylisted)
        # Never past the message's own end, at which the recipient expires.
        next_attempt_at = min(now + delay, message.expires_at)
    return RecipientUpdate(
        position=recipient.position,
        status=status,
        attempts=count,
        next_attempt_at=next_attempt_at,
        reply=outcome.reply,
        classification=outcome.classification,
        sent_to=attempts.instead(recipient),
        is_hard_bounce=outcome.is_hard_bounce and attempts.is_for_real(recipient),
        unknown_outcomes=unknown,
    )


def _is_enough(message: ClaimedMessage, unknown: int, retry: RetryPolicy) -> bool:
    """Whether unknown outcomes forbid sending a message again."""
    return message.guarantee is Guarantee.AT_MOST_ONCE or unknown >= retry.max_unknown_outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """A profile's fault, and the messages that are released because of it."""

    profile_id: str
    revision: int
    code: str
    reason: str
    is_probe: bool
    released: tuple[str, ...]


@value(kw_only=True)
class Settled:
    """One settlement on its way to the database.

    `heals` names a lane whose probe succeeded; `trip` is what stopped the work, if anything did.
    `learnt` is what was found out about how many connections a profile's server takes.
    """

    settlement: Settlement
    heals: str | None = None
    trip: Trip | None = None
    learnt: tuple[str, int | None] | None = None


class Settler:
    """The task that writes outcomes, as many in one transaction as have come meanwhile.

    `waiting` is how many are known and not written yet.
    """

    def __init__(
        self,
        database: Database,
        *,
        owner: str,
        now: Callable[[], datetime],
        random: Random,
        facts: Facts,
        on_settled: Callable[[Sequence[Settled]], None],
    ) -> None:
        self._database = database
        self._owner = owner
        self._now = now
        self._random = random
        self._facts = facts
        self._on_settled = on_settled
        self._queue: asyncio.Queue[Settled] = asyncio.Queue()
        self.waiting = 0

    def submit(self, settled: Settled) -> None:
        """Hand over an outcome; the message stays leased until it is written."""
        self.waiting += 1
        self._queue.put_nowait(settled)

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be written that nothing new may be begun."""
        return self.waiting >= MAX_WAITING

    async def run(self) -> None:
        """Write what comes, until cancelled."""
        while True:
            group = [await self._queue.get()]
            while len(group) < MAX_GROUP and not self._queue.empty():
                group.append(self._queue.get_nowait())
            await self._write(group)
            self.waiting -= len(group)
            for _ in group:
                self._queue.task_done()

    async def wait_empty(self) -> None:
        """Return once everything submitted has been written."""
        await self._queue.join()

    async def _write(self, group: Sequence[Settled]) -> None:
        """Write a group, again and again while the database is away: outcomes are not forgotten."""
        while True:
            try:
                await self._write_once(group)
            except RolledBack:
                continue
            except Unavailable:
                log.warning("%d outcomes wait for the database", self.waiting)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                log.exception("could not write %d outcomes", len(group))
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        self._facts.group("settle", len(group))
        self._on_settled(group)

    async def _write_once(self, group: Sequence[Settled]) -> None:
        heals = {each.heals for each in group if each.heals is not None}
        async with self._database.transaction(announce=bool(heals)) as connection:
            owned = await outcomes.settle(
                connection,
                owner=self._owner,
                settlements=[each.settlement for each in group],
                now=self._now(),
            )
            for profile_id in heals:
                await lanes.heal(connection, profile_id=profile_id, now=self._now())
            for profile_id, concurrency in dict(filter(None, (e.learnt for e in group))).items():
                await lanes.learn(connection, profile_id=profile_id, concurrency=concurrency)
            for each in group:
                if each.trip is not None:
                    await self._trip(connection, each.trip)
        if lost := [e.settlement.message_id for e in group if e.settlement.message_id not in owned]:
            log.warning("dropping outcomes of messages that another worker took over: %s", lost)

    async def _trip(self, connection: AsyncConnection, trip: Trip) -> None:
        now = self._now()
        await lanes.trip(
            connection,
            profile_id=trip.profile_id,
            revision=trip.revision,
            code=trip.code,
            reason=trip.reason,
            now=now,
            wait=lambda faults: PROBE.delay_at_least_half(faults, self._random),
            is_probe=trip.is_probe,
        )
        if trip.released:
            await outbox.release(connection, owner=self._owner, held=trip.released, now=now)
