"""What is written at the end of a claim (invariant 4)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from app.delivery.attempt import Attempts
from app.delivery.recipient_update import build_settlement
from app.domain.outcome.outcome import OUTCOME_UNKNOWN, FailureScope, Outcome, Stage, Verdict
from app.domain.types import Guarantee, MessageStatus, RecipientStatus, RetryPolicy
from tests.delivery.builders import NOW, OK, claimed_message, queued_recipient, recipient

DELIVERED = Outcome(Stage.DOT, Verdict.DELIVERED, "delivered", reply=OK)
DEFERRED = Outcome(Stage.RCPT, Verdict.DEFER, "recipient_deferred", scope=FailureScope.RECIPIENT)
BOUNCED = Outcome(Stage.RCPT, Verdict.BOUNCE, "recipient_rejected", scope=FailureScope.RECIPIENT)

ANN, BOB = queued_recipient(0, "ann@example.org"), queued_recipient(1, "bob@example.org")


LOST = Outcome(Stage.DOT, Verdict.DEFER, OUTCOME_UNKNOWN, scope=FailureScope.MESSAGE)


def settle(attempts: Attempts, random: float = 1.0):  # noqa: ANN201 - the type is long and plain
    """The settlement, jitter at its greatest."""
    return build_settlement(attempts, retry=RetryPolicy(), now=NOW, random=lambda: random)


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ((DELIVERED, DELIVERED), MessageStatus.SENT),
        ((DELIVERED, BOUNCED), MessageStatus.PARTIALLY_SENT),
        ((BOUNCED, BOUNCED), MessageStatus.FAILED),
    ],
)
def test_with_every_recipient_decided_the_message_is_final(
    outcomes: tuple[Outcome, Outcome], status: MessageStatus
) -> None:
    """It is due no more."""
    settlement = settle(Attempts(claimed_message(ANN, BOB), outcomes=dict(enumerate(outcomes))))
    assert (settlement.status, settlement.due_at) == (status, None)
    assert [recipient.attempts for recipient in settlement.recipients] == [1, 1]


def test_a_deferred_recipient_is_tried_again_later() -> None:
    """The first wait is a minute at the most, and the message is due then."""
    settlement = settle(Attempts(claimed_message(ANN, BOB), outcomes={0: DEFERRED, 1: DELIVERED}))
    assert settlement.status is None
    assert (
        settlement.due_at == settlement.recipients[0].next_attempt_at == NOW + timedelta(minutes=1)
    )


def test_jitter_spreads_the_tries() -> None:
    """Between nothing and the ceiling."""
    attempts = Attempts(claimed_message(ANN), outcomes={0: DEFERRED})
    assert settle(attempts, random=0.0).due_at == NOW
    assert settle(attempts, random=0.5).due_at == NOW + timedelta(seconds=30)


def test_no_try_is_planned_past_the_messages_end() -> None:
    """At its `expires_at` it is looked at for the last time."""
    late = recipient(0, "ann@example.org", RecipientStatus.DEFERRED, attempts=40)
    message = claimed_message(late)
    settlement = settle(Attempts(message, outcomes={0: DEFERRED}))
    assert settlement.due_at is not None
    assert settlement.due_at <= message.expires_at


def test_undecided_recipients_use_no_attempt() -> None:
    """A fault of the profile leaves them as they were, due at once (invariant 6)."""
    settlement = settle(Attempts(claimed_message(ANN, BOB)))
    assert (settlement.status, settlement.due_at, settlement.recipients) == (None, NOW, ())


def test_whose_turn_is_later_keeps_its_turn() -> None:
    """A recipient that was not tried now is due when it was."""
    later = NOW + timedelta(hours=1)
    bob = recipient(1, "bob@example.org", RecipientStatus.DEFERRED, next_attempt_at=later)
    attempts = Attempts(claimed_message(ANN, bob))
    assert attempts.list_pending(NOW) == [ANN]
    attempts.outcomes[0] = DELIVERED
    assert settle(attempts).due_at == later


UNKNOWN = Outcome(Stage.DOT, Verdict.DEFER, OUTCOME_UNKNOWN, scope=FailureScope.MESSAGE)


@pytest.mark.parametrize(
    ("guarantee", "status"),
    [(Guarantee.AT_LEAST_ONCE, None), (Guarantee.AT_MOST_ONCE, MessageStatus.HELD)],
)
def test_an_unknown_outcome_is_tried_again_or_held(
    guarantee: Guarantee, status: MessageStatus | None
) -> None:
    """As the message's guarantee says (invariant 5)."""
    attempts = Attempts(claimed_message(ANN, guarantee=guarantee), outcomes={0: UNKNOWN})
    assert settle(attempts).status is status


def test_a_marked_recipient_without_an_outcome_is_uncertain() -> None:
    """Whatever broke the work off; the others go on."""
    attempts = Attempts(claimed_message(ANN, BOB, guarantee=Guarantee.AT_MOST_ONCE), marked={0})
    settlement = settle(attempts)
    assert [recipient.status for recipient in settlement.recipients] == [RecipientStatus.UNCERTAIN]
    assert (settlement.status, settlement.due_at) == (None, NOW)


@pytest.mark.parametrize(
    ("before", "status"), [(1, "deferred"), (2, "uncertain"), (7, "uncertain")]
)
def test_after_so_many_unknown_outcomes_a_recipient_is_uncertain(before: int, status: str) -> None:
    """Whatever the guarantee: three by default. Other failures do not count."""
    ann = replace(ANN, unknown_outcomes=before)
    [update] = settle(Attempts(claimed_message(ann), outcomes={0: LOST})).recipients
    assert (update.status, update.unknown_outcomes) == (status, before + 1)
    [update] = settle(Attempts(claimed_message(ann), outcomes={0: DEFERRED})).recipients
    assert (update.status, update.unknown_outcomes) == ("deferred", before)
