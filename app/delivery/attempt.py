"""Send one message through one session, and decide its outcome."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.delivery.classification import Judgement, interrupted, judge
from app.delivery.record import Recorder
from app.domain.address import verp
from app.domain.clock import monotonic_seconds
from app.domain.outcome.outcome import Outcome
from app.domain.tenants.routing import EVERYBODY, Routing
from app.domain.types import Guarantee
from app.domain.value import value
from app.smtp.identity import ConnectionFacts
from app.smtp.protocol import Mail
from app.smtp.session import Following, Session
from app.store.outbox.queries import ClaimedMessage, ClaimedRecipient


@value
class Turn:
    """The recipients of one transaction, and what is sent to them.

    `is_last`: no other recipient waits for a transaction.
    """

    recipients: Sequence[ClaimedRecipient]
    mail: Mail
    is_last: bool


@dataclass(slots=True)
class Attempts:
    """What came of working on one message.

    `outcomes` holds the recipients (by position) that were decided; all others stand as before,
    with no attempt used. `fault` is what stopped the work: the profile's, or the connection's.
    `facts` are those of the last connection. `marked` holds the recipients to whom the body went
    out under `at_most_once`. `seconds` is what the last transaction took.
    `via` is the profile that stands in for the message's own. `begun` is the turn whose envelope
    a session has begun already. `routing` says whom a server is told. `revision` is that of the
    profile under which the work began: the lane may have gone on to a newer one since. `session` is
    the one that it goes through just now.
    """

    message: ClaimedMessage
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    fault: Outcome | None = None
    marked: set[int] = field(default_factory=set)
    seconds: float = 0.0
    via: str | None = None
    facts: ConnectionFacts = field(default_factory=ConnectionFacts)
    begun: Turn | None = None
    routing: Routing = EVERYBODY
    revision: int = 0
    session: Session | None = None

    def destination(self, recipient: ClaimedRecipient) -> str | None:
        """The address at RCPT TO for a recipient; None if no server gets the message."""
        return self.routing.destination(recipient.address)

    def is_for_real(self, recipient: ClaimedRecipient) -> bool:
        """Whether RCPT TO had the recipient's own address."""
        return self.instead(recipient) is None and not self.routing.is_simulated(recipient.address)

    def instead(self, recipient: ClaimedRecipient) -> str | None:
        """Where a recipient's mail goes that does not go to its address; None where it does."""
        to = self.destination(recipient)
        return to if to != recipient.address else None

    def undecided(self, now: datetime) -> list[ClaimedRecipient]:
        """The recipients of the turn that have no outcome yet."""
        return [
            each
            for each in self.message.recipients
            if each.is_open
            and each.position not in self.outcomes
            and (each.next_attempt_at is None or each.next_attempt_at <= now)
        ]

    def turn(self, now: datetime) -> Turn | None:
        """The begun turn, or the next one; None if no recipient is left."""
        begun, self.begun = self.begun, None
        if begun is not None:
            return begun
        waiting = [
            (each, to) for each in self.undecided(now) if (to := self.destination(each)) is not None
        ]
        if not waiting or self.message.unreadable is not None:
            return None
        # An address in another script need not be the end of the others': it goes by itself.
        pending = [pair for pair in waiting if pair[1].isascii()] or waiting
        reverse_path = self.message.envelope_from
        if self.message.has_verp:  # one a recipient, so a transaction for each
            pending = pending[:1]
            reverse_path = verp.return_path(reverse_path, self.message.id, pending[0][0].position)
        addresses = list(dict.fromkeys(to for _, to in pending))
        mail = Mail(reverse_path, addresses, self.message.mime, self.message.dsn)
        is_last = len(pending) == len(waiting)
        return Turn([each for each, _ in pending], mail, is_last)

    def begin(self, now: datetime) -> Mail | None:
        """The mail of the next turn, which is to be sent as it is now."""
        self.begun = self.turn(now)
        return None if self.begun is None else self.begun.mail

    def may_use(self, session: Session) -> bool:
        """Whether the session has begun no other mail than this one."""
        mine = None if self.begun is None else self.begun.mail
        return session.begun is None or session.begun is mine


Mark = Callable[[ClaimedMessage, Sequence[int]], Awaitable[bool]]


async def transact(
    attempts: Attempts,
    session: Session,
    recorder: Recorder,
    mark: Mark,
    following: Following | None = None,
) -> None:
    """Send the message to all whose turn it is, in as many transactions as the server wants.

    `following` is whom to ask for the mail after it. Where it is cancelled, the attempt is recorded
    with how far it had come, and nothing decided.
    """
    attempts.fault = None
    while (turn := attempts.turn(recorder.now())) is not None:
        then = following if turn.is_last else None
        judgement = await _transact_once(attempts, session, recorder, mark, turn, then)
        for each in turn.recipients:
            to = attempts.destination(each)
            outcome = judgement.outcomes.get(to) if to is not None else None
            if outcome is not None and to not in judgement.again:
                attempts.outcomes[each.position] = outcome
        attempts.fault = judgement.fault
        if judgement.fault is not None or (turn.is_last and not judgement.again):
            return


async def _transact_once(
    attempts: Attempts,
    session: Session,
    recorder: Recorder,
    mark: Mark,
    turn: Turn,
    following: Following | None,
) -> Judgement:
    started_at, start = recorder.now(), monotonic_seconds()
    fresh = session.transactions == 0
    is_at_most_once = attempts.message.guarantee is Guarantee.AT_MOST_ONCE

    async def before_body(taken: Collection[str]) -> bool:
        """Whether to send the body to the accepted recipients (invariant 5)."""
        positions = [e.position for e in turn.recipients if attempts.destination(e) in taken]
        if not await mark(attempts.message, positions):
            return False
        attempts.marked.update(positions)
        return True

    def note(judgement: Judgement) -> None:
        row = recorder.row(
            attempts.message,
            session.facts,
            judgement,
            started_at=started_at,
            seconds=monotonic_seconds() - start,
            via=attempts.via,
            transcript=session.transcript,
        )
        attempts.rows.append(row)

    try:
        transaction = await session.send(
            turn.mail,
            before_body=before_body if is_at_most_once else None,
            following=following,
        )
    except asyncio.CancelledError:
        note(interrupted(session.stage))
        raise
    attempts.seconds = monotonic_seconds() - start
    judgement = judge(
        transaction, turn.mail.recipients, fresh=fresh, authenticated=session.is_authenticated
    )
    note(judgement)
    return judgement
