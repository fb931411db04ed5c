"""Send one message through one session, and decide its outcome."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.delivery.classification import (
    TransactionResult,
    build_interrupted_result,
    classify_transaction,
)
from app.delivery.record import Recorder
from app.domain.address import verp
from app.domain.clock import monotonic_seconds
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.outcome.outcome import Outcome
from app.domain.tenants.routing import NO_RULES, Routing
from app.domain.types import Guarantee
from app.smtp.identity import ConnectionFacts
from app.smtp.protocol import Mail
from app.smtp.session import NextMail, Session
from app.store.outbox.claims import ClaimedMessage, ClaimedRecipient


@frozen_dataclass
class Turn:
    """Recipients that share one transaction, and its mail; `is_last`: no others remain."""

    recipients: Sequence[ClaimedRecipient]
    mail: Mail
    is_last: bool


@dataclass(slots=True)
class Attempts:
    """The progress and results of work on one message.

    `outcomes` holds the decided recipients by position; the others stay as they are, with no
    attempt used. `fault` is what stopped the work: the profile's, or the connection's. `facts` are
    those of the last connection, `session` is the current one. `marked` holds the recipients to
    whom the body went out under `at_most_once`. `seconds` is how long the last transaction took.
    `via` is the profile that sends instead of the message's own. `next_turn` is the turn whose
    envelope a session has already sent. `routing` decides the address that a server gets,
    `recipient_limits` how many recipients of a destination share a transaction. `revision` is the
    profile's when the work began; the lane may have a newer one by now.
    """

    message: ClaimedMessage
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    fault: Outcome | None = None
    marked: set[int] = field(default_factory=set)
    seconds: float = 0.0
    via: str | None = None
    facts: ConnectionFacts = field(default_factory=ConnectionFacts)
    next_turn: Turn | None = None
    routing: Routing = NO_RULES
    recipient_limits: Mapping[int, int] = field(default_factory=dict)
    revision: int = 0
    session: Session | None = None

    def find_destination(self, recipient: ClaimedRecipient) -> str | None:
        """Find the address that the server gets for a recipient, or None."""
        return self.routing.destination(recipient.address)

    def is_own_address(self, recipient: ClaimedRecipient) -> bool:
        """Whether a server got the recipient's own address."""
        is_redirected = self.find_redirect(recipient) is not None
        return not is_redirected and not self.routing.is_simulated(recipient.address)

    def find_redirect(self, recipient: ClaimedRecipient) -> str | None:
        """Find the address that replaces a recipient's, or None."""
        destination = self.find_destination(recipient)
        return destination if destination != recipient.address else None

    def list_pending(self, now: datetime) -> list[ClaimedRecipient]:
        """List the recipients that are due and have no outcome yet."""
        return [
            recipient
            for recipient in self.message.recipients
            if self.message.may_send_to(recipient)
            and recipient.position not in self.outcomes
            and (recipient.next_attempt_at is None or recipient.next_attempt_at <= now)
        ]

    def take_turn(self, now: datetime) -> Turn | None:
        """Take the begun turn, or the next; None if no recipient remains."""
        next_turn, self.next_turn = self.next_turn, None
        if next_turn is not None:
            return next_turn
        waiting = [
            (recipient, destination)
            for recipient in self.list_pending(now)
            if (destination := self.find_destination(recipient)) is not None
        ]
        if not waiting or self.message.unreadable_reason is not None:
            return None
        # A server may refuse SMTPUTF8, so addresses that need it do not hold up the others.
        pending = [pair for pair in waiting if pair[1].isascii()] or waiting
        reverse_path = self.message.envelope_from
        if self.message.has_verp:  # each recipient has its own, and so its own transaction
            pending = pending[:1]
            reverse_path = verp.build_return_path(
                reverse_path, self.message.id, pending[0][0].position
            )
        pending = self._limit_recipients(pending)
        addresses = list(dict.fromkeys(destination for _, destination in pending))
        mail = Mail(reverse_path, addresses, self.message.mime, self.message.dsn)
        is_last = len(pending) == len(waiting)
        return Turn([recipient for recipient, _ in pending], mail, is_last)

    def _limit_recipients(
        self, pending: Sequence[tuple[ClaimedRecipient, str]]
    ) -> list[tuple[ClaimedRecipient, str]]:
        """Keep as many recipients as their destinations allow in one transaction."""
        if not self.recipient_limits or self.message.allowed is None:
            return list(pending)
        counts, first = Counter[int](), list[tuple[ClaimedRecipient, str]]()
        for recipient, address in pending:
            number = self.message.allowed[recipient.position]
            counts[number] += 1
            if counts[number] <= self.recipient_limits.get(number, len(pending)):
                first.append((recipient, address))
        return first

    def begin_next(self, now: datetime) -> Mail | None:
        """Return the mail of the next turn, which must then be sent as it is."""
        self.next_turn = self.take_turn(now)
        return None if self.next_turn is None else self.next_turn.mail

    def can_use(self, session: Session) -> bool:
        """Whether the session has begun no other mail."""
        own_mail = None if self.next_turn is None else self.next_turn.mail
        return session.begun_mail is None or session.begun_mail is own_mail


AllowBody = Callable[[ClaimedMessage, Sequence[int]], Awaitable[bool]]


async def transact(
    attempts: Attempts,
    session: Session,
    recorder: Recorder,
    allow_body: AllowBody,
    next_mail: NextMail | None = None,
) -> None:
    """Send the message to all pending recipients, in as many transactions as needed.

    `next_mail` returns the mail that follows in the session. A cancelled attempt is recorded with
    the stage that it had reached, and decides nothing.
    """
    attempts.fault = None
    while (turn := attempts.take_turn(recorder.now())) is not None:
        then = next_mail if turn.is_last else None
        result = await _transact_once(attempts, session, recorder, allow_body, turn, then)
        for recipient in turn.recipients:
            to = attempts.find_destination(recipient)
            outcome = result.outcomes.get(to) if to is not None else None
            if outcome is not None and to not in result.again:
                attempts.outcomes[recipient.position] = outcome
        attempts.fault = result.fault
        if result.fault is not None or (turn.is_last and not result.again):
            return


async def _transact_once(
    attempts: Attempts,
    session: Session,
    recorder: Recorder,
    allow_body: AllowBody,
    turn: Turn,
    next_mail: NextMail | None,
) -> TransactionResult:
    started_at, start = recorder.now(), monotonic_seconds()
    is_fresh = session.transactions == 0

    async def before_body(accepted: Collection[str]) -> bool:
        """Ask for permission to send the body to the recipients whom the server has accepted."""
        if attempts.message.guarantee is Guarantee.AT_LEAST_ONCE:
            return await allow_body(attempts.message, ())
        positions = [
            recipient.position
            for recipient in turn.recipients
            if attempts.find_destination(recipient) in accepted
        ]
        if not await allow_body(attempts.message, positions):
            return False
        attempts.marked.update(positions)
        return True

    def record(result: TransactionResult) -> None:
        row = recorder.build_row(
            attempts.message,
            session.facts,
            result,
            started_at=started_at,
            seconds=monotonic_seconds() - start,
            via=attempts.via,
            transcript=session.transcript,
        )
        attempts.rows.append(row)

    try:
        transaction = await session.send(
            turn.mail,
            before_body=before_body,
            next_mail=next_mail,
        )
    except asyncio.CancelledError:
        record(build_interrupted_result(session.stage))
        raise
    attempts.seconds = monotonic_seconds() - start
    result = classify_transaction(
        transaction, turn.mail.recipients, fresh=is_fresh, authenticated=session.is_authenticated
    )
    record(result)
    return result
