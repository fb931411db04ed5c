"""The outbox against a model of it in memory, step by step at random (invariants 3, 4, 5 and 11).

Two owners accept, claim, renew, mark, settle, give back and die; time passes, messages expire,
are cancelled and resolved. After every step each row is what the model says.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select

from app.domain.delivery.status import RecipientEvent
from app.domain.errors import Conflict
from app.domain.types import NewMessage, Priority, Profile
from app.store.db.database import Database
from app.store.messages import status_changes as decisions
from app.store.outbox import acceptance, claims, leases
from app.store.outbox import results as outcomes
from app.store.tables.core import messages, recipients
from app.store.tables.metadata import metadata
from tests.store.outbox.outbox_model import FINAL, LEASE, OWNERS, Model, settlement_of
from tests.support.rows import MINUTE, NOW, PLENTY, a_message, made_profile, made_tenant

T = TypeVar("T")
C = TypeVar("C")
Run = Callable[[Coroutine[Any, Any, Any]], Any]

owners = st.sampled_from(OWNERS)
verdicts = st.sampled_from(["deliver", "defer", "bounce", "nothing"])


class Outbox(RuleBasedStateMachine):
    """The real outbox and its model, taking the same steps."""

    database: Database
    run: Run

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(NOW)
        self.ends: dict[tuple[str, int], str] = {}
        self.claimed: dict[str, dict[str, claims.ClaimedMessage]] = {owner: {} for owner in OWNERS}

    @initialize()
    def an_empty_outbox(self) -> None:
        self.profile: Profile = self.run(_empty(self.database))
        self.accept(count=2, priority=Priority.NORMAL, minutes=600)

    def write(self, step: Callable[..., Coroutine[Any, Any, T]], *args: Any, **named: Any) -> T:
        """One step of the store in a transaction of its own."""

        async def transaction() -> T:
            async with self.database.transaction() as connection:
                return await step(connection, *args, **named)

        written: T = self.run(transaction())
        return written

    def one_of(self, choices: list[C], number: int) -> C:
        return choices[number % len(choices)]

    def held(self) -> list[tuple[str, str]]:
        """Each owner with each message that it believes to hold, in the same order each time."""
        return [
            (owner, message_id) for owner in OWNERS for message_id in sorted(self.claimed[owner])
        ]

    @rule(
        count=st.integers(1, 3),
        priority=st.sampled_from(Priority),
        minutes=st.sampled_from([1, 5, 600]),
    )
    def accept(self, count: int, priority: Priority, minutes: int) -> None:
        message = self.a_message(count, minutes, priority)
        self.write(acceptance.accept, [message])
        self.model.accept(message)

    @rule(owner=owners, count=st.integers(1, 3))
    def accept_leased(self, owner: str, count: int) -> None:
        """Written with its owner; it is in hand from then on, as if it were claimed."""
        message = self.a_message(count)
        ids = frozenset([message.id])
        lease = leases.Lease(owner=owner, until=self.model.now + LEASE, message_ids=ids)
        self.write(acceptance.accept, [message], lease)
        self.model.accept_leased(message, owner)
        self.claimed[owner][message.id] = claims.ClaimedMessage.from_new(message)

    def a_message(
        self, count: int, minutes: int = 600, priority: Priority = Priority.NORMAL
    ) -> NewMessage:
        return a_message(
            self.profile,
            *(f"{number}@x.test" for number in range(count)),
            # By which messages of one moment are ordered: a step done again finds the same.
            id=f"msg_{len(self.model.rows):032x}",
            created_at=self.model.now,
            expires_at=self.model.now + MINUTE * minutes,
            priority=priority,
        )

    @rule(owner=owners, limit=st.sampled_from([1, 9]))
    def claim(self, owner: str, limit: int) -> None:
        expected = self.model.claim(owner, limit)
        claimed = self.write(
            claims.claim,
            [claims.ClaimRequest(self.profile.id, limit, PLENTY)],
            owner=owner,
            now=self.model.now,
            lease_until=self.model.now + LEASE,
        )
        assert [(message.id, message.former_owner) for message in claimed] == expected
        self.claimed[owner] |= {message.id: message for message in claimed}

    @rule(owner=owners)
    def renew(self, owner: str) -> None:
        """Of all that the owner believes to hold, what is still its own is lengthened."""
        held = list(self.claimed[owner])
        until = self.model.now + LEASE
        message_ids = self.write(leases.renew, owner=owner, message_ids=held, lease_until=until)
        assert message_ids == self.model.renew(owner, held)
        self.claimed[owner] = {
            message_id: self.claimed[owner][message_id] for message_id in message_ids
        }

    @precondition(lambda self: self.held())
    @rule(number=st.integers(0, 9), chosen=st.sets(st.integers(0, 2), min_size=1))
    def mark(self, number: int, chosen: set[int]) -> None:
        owner, message = self.one_of(self.held(), number)
        arguments = {"message_id": message, "positions": sorted(chosen), "now": self.model.now}
        assert self.write(outcomes.mark, owner=owner, **arguments) is self.model.mark(
            owner, message, chosen
        )

    @precondition(lambda self: self.held())
    @rule(number=st.integers(0, 9), chosen_verdicts=st.lists(verdicts, min_size=3, max_size=3))
    def settle(self, number: int, chosen_verdicts: list[str]) -> None:
        """By what the owner read at its claim, whoever holds the message meanwhile."""
        owner, message = self.one_of(self.held(), number)
        ended = settlement_of(self.claimed[owner].pop(message), chosen_verdicts, self.model.now)
        arguments: dict[str, Any] = {"owner": owner, "settlements": [ended], "now": self.model.now}
        assert self.write(outcomes.settle, **arguments) == self.model.settle(owner, ended)
        assert self.write(outcomes.settle, **arguments) == set()

    @rule(owner=owners)
    def take_over(self, owner: str) -> None:
        """Every lease ends, and this owner is the first to come; the other goes on as before."""
        self.model.now += LEASE
        self.claim(owner, 9)

    @rule(owner=owners, number=st.integers(0, 9))
    def release(self, owner: str, number: int) -> None:
        held = sorted(self.claimed[owner])[: number + 1]
        for message_id in held:
            del self.claimed[owner][message_id]
        self.write(leases.release, owner=owner, message_ids=held, now=self.model.now)
        self.model.release(owner, held)

    @rule(owner=owners, is_sole=st.sampled_from([False, False, True]))
    def die(self, owner: str, *, is_sole: bool) -> None:
        """What it held in memory is gone; a sole worker that starts knows that all are dead."""
        self.claimed[owner].clear()
        if is_sole:
            assert self.write(leases.release_all) == self.model.release_all()
            for held in self.claimed.values():
                held.clear()

    @rule()
    def expire(self) -> None:
        expired_ids = self.write(outcomes.expire, now=self.model.now, limit=99)
        assert expired_ids == self.model.expire()

    @precondition(lambda self: self.model.free())
    @rule(number=st.integers(0, 9))
    def cancel(self, number: int) -> None:
        message = self.one_of(self.model.free(), number)
        self.write(
            outcomes.finish_open,
            message_ids=[message],
            event=RecipientEvent.CANCEL,
            now=self.model.now,
        )
        self.model.finish_open(message, "cancelled")

    @precondition(lambda self: self.model.rows)
    @rule(
        number=st.integers(0, 9),
        position=st.sampled_from([None, 0, 1]),
        event=st.sampled_from(
            [RecipientEvent.DELIVER, RecipientEvent.BOUNCE, RecipientEvent.REQUEUE]
        ),
    )
    def resolve(self, number: int, position: int | None, event: RecipientEvent) -> None:
        message = self.one_of(list(self.model.rows), number)
        addresses = None if position is None else [f"{position}@X.test"]
        status = {"deliver": "sent", "bounce": "bounced", "requeue": "queued"}[event]
        try:
            self.write(
                decisions.resolve,
                tenant_id=self.profile.tenant_id,
                message_id=message,
                addresses=addresses,
                event=event,
                now=self.model.now,
            )
            is_done = True
        except Conflict:
            is_done = False
        assert is_done is self.model.resolve(message, position, status)
        for key in [key for key in self.ends if key[0] == message]:
            assert self.ends[key] == self.model.rows[message].recipients[key[1]].status

    @rule(seconds=st.sampled_from([20, 60, 61, 400]))
    def time_passes(self, seconds: int) -> None:
        self.model.now += timedelta(seconds=seconds)

    @invariant()
    def every_row_is_as_the_model_says(self) -> None:
        assert self.run(_rows(self.database)) == self.model.dump_rows()

    @invariant()
    def an_end_is_for_ever(self) -> None:
        """Exactly one final status a recipient (invariant 4)."""
        for message, row in self.model.rows.items():
            for position, recipient in enumerate(row.recipients):
                if recipient.status in FINAL:
                    assert (
                        self.ends.setdefault((message, position), recipient.status)
                        == recipient.status
                    )


async def _empty(database: Database) -> Profile:
    async with database.transaction() as connection:
        for table in reversed(metadata.sorted_tables):
            await connection.execute(delete(table))
    return await made_profile(database, await made_tenant(database))


async def _rows(database: Database) -> dict[str, Any]:
    columns = (recipients.c.status, recipients.c.attempts, recipients.c.next_attempt_at)
    everything = (
        select(
            messages.c.id,
            messages.c.status.label("message_status"),
            messages.c.lease_owner,
            messages.c.due_at,
            *columns,
        )
        .join(recipients, recipients.c.message_id == messages.c.id)
        .order_by(messages.c.id, recipients.c.position)
    )
    rows: dict[str, Any] = {}
    async with database.reading() as connection:
        for row in await connection.execute(everything):
            begun = (row.message_status, row.lease_owner, row.due_at, [])
            rows.setdefault(row.id, begun)[3].append(
                (row.status, row.attempts, row.next_attempt_at)
            )
    return rows


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs what is awaited, all of it in one loop."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.mark.slow
@pytest.mark.timeout(400)  # it takes seconds; what it finds is made short first, which takes longer
def test_the_outbox_does_what_its_model_does(migrated_url: str, run: Run) -> None:
    """Whatever the order of steps, and on both databases alike."""
    database = Database(migrated_url)
    machine = type("Outbox", (Outbox,), {"database": database, "run": staticmethod(run)})
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=30,
                stateful_step_count=50,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        run(database.close())
