"""Classify a mail transaction for each recipient and for the profile."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.outcome.failure_table import classify
from app.domain.outcome.outcome import (
    OUTCOME_UNKNOWN,
    Failure,
    FailureScope,
    Fault,
    Outcome,
    Stage,
    Verdict,
    build_delivered,
)
from app.smtp.session import Transaction


@frozen_dataclass(kw_only=True)
class TransactionResult:
    """Outcomes by address, addresses to retry at once, and the fault that ended it."""

    outcomes: Mapping[str, Outcome]
    again: frozenset[str] = frozenset()
    fault: Outcome | None = None

    @property
    def main(self) -> Outcome:
        """The outcome of the attempt as a whole: the fault, else success, else the worst."""
        if self.fault is not None:
            return self.fault
        order = (Verdict.DELIVERED, Verdict.BOUNCE, Verdict.DEFER, Verdict.AGAIN)
        return min(self.outcomes.values(), key=lambda outcome: order.index(outcome.verdict))


def classify_transaction(
    transaction: Transaction, addresses: Sequence[str], *, fresh: bool, authenticated: bool
) -> TransactionResult:
    """Decide what a transaction means for each address (invariant 6)."""
    is_accepted = transaction.reply is not None
    outcomes: dict[str, Outcome] = {}
    fault: Outcome | None = None
    for address, failure in transaction.refused.items():
        outcome = classify(failure, fresh=fresh, authenticated=authenticated)
        if outcome.scope is FailureScope.PROFILE and not is_accepted:
            fault = outcome
        else:
            outcomes[address] = _limit_to_recipient(outcome, failure, is_accepted=is_accepted)
    rest = [address for address in addresses if address not in transaction.refused]
    if transaction.reply is not None:
        outcomes |= dict.fromkeys(rest, build_delivered(transaction.reply))
    elif transaction.failure is not None:
        outcome = classify(transaction.failure, fresh=fresh, authenticated=authenticated)
        if outcome.scope in {FailureScope.PROFILE, FailureScope.CONNECTION}:
            fault = outcome
        else:
            outcomes |= dict.fromkeys(rest, outcome)
    again = frozenset(to for to, outcome in outcomes.items() if outcome.verdict is Verdict.AGAIN)
    return TransactionResult(outcomes=outcomes, again=again, fault=fault)


def _limit_to_recipient(outcome: Outcome, failure: Failure, *, is_accepted: bool) -> Outcome:
    """Limit a refusal at RCPT to its recipient.

    Where the server accepted the message for others, the profile cannot be at fault. Where it
    accepted nobody, "too many recipients" is no reason to try again at once.
    """
    if outcome.scope is FailureScope.PROFILE:
        is_permanent = failure.reply is not None and failure.reply.is_permanent
        verdict = Verdict.BOUNCE if is_permanent else Verdict.DEFER
        return replace(outcome, scope=FailureScope.RECIPIENT, verdict=verdict)
    is_too_many = outcome.verdict is Verdict.AGAIN and failure.fault is not Fault.PARAMETERS
    if is_too_many and not is_accepted:
        return replace(outcome, verdict=Verdict.DEFER)
    return outcome


def build_interrupted_result(stage: Stage) -> TransactionResult:
    """Return the result of a transaction that the service broke off: it decides no recipient.

    After the final dot the server may have taken the message all the same (invariant 5).
    """
    classification = OUTCOME_UNKNOWN if stage is Stage.DOT else "interrupted"
    detail = "the service stopped before the server replied"
    fault = Outcome(stage, Verdict.DEFER, classification, scope=FailureScope.MESSAGE, detail=detail)
    return TransactionResult(outcomes={}, fault=fault)
