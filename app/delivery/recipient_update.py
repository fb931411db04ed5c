"""Turn the results of a message into the rows to write."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from app.delivery.attempt import Attempts
from app.domain.delivery.retry import Random, retry_delay
from app.domain.delivery.status import FINAL, RecipientEvent, message_status, next_status
from app.domain.outcome.outcome import (
    GREYLISTED,
    OUTCOME_UNKNOWN,
    FailureScope,
    Outcome,
    Stage,
    Verdict,
)
from app.domain.types import Guarantee, RecipientStatus, RetryPolicy
from app.store.outbox.claims import ClaimedMessage, ClaimedRecipient
from app.store.outbox.results import RecipientUpdate, Settlement

EVENTS: Final = {
    Verdict.DELIVERED: RecipientEvent.DELIVER,
    Verdict.DEFER: RecipientEvent.DEFER,
    Verdict.BOUNCE: RecipientEvent.BOUNCE,
}
INTERRUPTED: Final = Outcome(Stage.DOT, Verdict.DEFER, OUTCOME_UNKNOWN, scope=FailureScope.MESSAGE)
NOT_RETRIED: Final = (
    "not sent again: whether the earlier transmissions arrived is unknown (the profile's"
    " retry.max_unknown_outcomes)"
)


def build_settlement(
    attempts: Attempts, *, retry: RetryPolicy, now: datetime, random: Random
) -> Settlement:
    """Build the rows: decided recipients move on, the others stay as they are (invariant 4).

    With `at_most_once`, a recipient is uncertain if the body was sent and no reply came, whatever
    stopped the work.
    """
    message = attempts.message
    outcomes = dict.fromkeys(attempts.marked, INTERRUPTED) | attempts.outcomes
    updates = tuple(
        _build_update(
            recipient, outcomes[recipient.position], attempts, retry=retry, now=now, random=random
        )
        for recipient in message.recipients
        if recipient.position in outcomes
    )
    after = {to.position: (to.status, to.next_attempt_at) for to in message.recipients}
    after |= {to.position: (to.status, to.next_attempt_at) for to in updates}
    status = message_status(status for status, _ in after.values())
    due_at = None if status is not None else _next_due_at(after.values(), now)
    return Settlement(
        message_id=message.id,
        recipients=updates,
        status=status,
        due_at=due_at,
        attempts=tuple(_build_attempt_rows(attempts, updates)),
    )


def _build_attempt_rows(
    attempts: Attempts, updates: Iterable[RecipientUpdate]
) -> Iterator[Mapping[str, Any]]:
    """Yield the attempts' rows; explain a final unknown outcome."""
    is_last = attempts.message.guarantee is Guarantee.AT_LEAST_ONCE and any(
        update.status is RecipientStatus.UNCERTAIN for update in updates
    )
    for row in attempts.rows:
        if is_last and row["outcome_unknown"]:
            yield {**row, "detail": "; ".join(filter(None, [row["detail"], NOT_RETRIED]))}
        else:
            yield row


def _next_due_at(
    recipients: Iterable[tuple[RecipientStatus, datetime | None]], now: datetime
) -> datetime:
    """Return when the first open recipient is due; now if it was never tried."""
    return min(next_at or now for status, next_at in recipients if status not in FINAL)


def _build_update(
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
    unknown_outcomes = recipient.unknown_outcomes + outcome.outcome_unknown
    if outcome.outcome_unknown and _gives_up(message, unknown_outcomes, retry):
        event = RecipientEvent.MARK
    status = next_status(recipient.status, event)
    next_attempt_at = None
    if status is RecipientStatus.DEFERRED:
        is_greylisted = outcome.classification == GREYLISTED
        delay = retry_delay(retry, count, random, is_greylisted=is_greylisted)
        # The recipient expires with the message.
        next_attempt_at = min(now + delay, message.expires_at)
    return RecipientUpdate(
        position=recipient.position,
        status=status,
        attempts=count,
        next_attempt_at=next_attempt_at,
        reply=outcome.reply,
        classification=outcome.classification,
        sent_to=attempts.find_redirect(recipient),
        is_hard_bounce=outcome.is_hard_bounce and attempts.is_own_address(recipient),
        unknown_outcomes=unknown_outcomes,
    )


def _gives_up(message: ClaimedMessage, unknown_outcomes: int, retry: RetryPolicy) -> bool:
    """Whether no retry follows after this many unknown outcomes."""
    is_at_most_once = message.guarantee is Guarantee.AT_MOST_ONCE
    return is_at_most_once or unknown_outcomes >= retry.max_unknown_outcomes
