"""Classify a mail transaction for each recipient and for the profile."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.domain.outcome.failure_table import classify
from app.domain.outcome.outcome import (
    OUTCOME_UNKNOWN,
    Blast,
    Failure,
    Fault,
    Outcome,
    Stage,
    Verdict,
    delivered,
)
from app.domain.value import value
from app.smtp.session import Transaction


@value(kw_only=True)
class Judgement:
    """One transaction, judged: recipients decided, those to try again at once, and a fault."""

    outcomes: Mapping[str, Outcome]
    again: frozenset[str] = frozenset()
    fault: Outcome | None = None

    @property
    def main(self) -> Outcome:
        """The outcome that the attempt as a whole is known by: the fault, the worst, or success."""
        if self.fault is not None:
            return self.fault
        order = (Verdict.DELIVERED, Verdict.BOUNCE, Verdict.DEFER, Verdict.AGAIN)
        return min(self.outcomes.values(), key=lambda outcome: order.index(outcome.verdict))


def judge(
    transaction: Transaction, addresses: Sequence[str], *, fresh: bool, authenticated: bool
) -> Judgement:
    """What a transaction means for each address (invariant 6)."""
    was_taken = transaction.reply is not None
    outcomes: dict[str, Outcome] = {}
    fault: Outcome | None = None
    for address, failure in transaction.refused.items():
        outcome = classify(failure, fresh=fresh, authenticated=authenticated)
        if outcome.blast is Blast.PROFILE and not was_taken:
            fault = outcome
        else:
            outcomes[address] = _for_recipient(outcome, failure, was_taken=was_taken)
    rest = [address for address in addresses if address not in transaction.refused]
    if transaction.reply is not None:
        outcomes |= dict.fromkeys(rest, delivered(transaction.reply))
    elif transaction.failure is not None:
        outcome = classify(transaction.failure, fresh=fresh, authenticated=authenticated)
        if outcome.blast in {Blast.PROFILE, Blast.CONNECTION}:
            fault = outcome
        else:
            outcomes |= dict.fromkeys(rest, outcome)
    again = frozenset(a for a, outcome in outcomes.items() if outcome.verdict is Verdict.AGAIN)
    return Judgement(outcomes=outcomes, again=again, fault=fault)


def _for_recipient(outcome: Outcome, failure: Failure, *, was_taken: bool) -> Outcome:
    """A refusal at RCPT as the recipient's own.

    Where others of the same transaction were taken, the profile cannot be at fault. Where none
    was, "too many" is no reason to come back at once.
    """
    if outcome.blast is Blast.PROFILE:
        permanent = failure.reply is not None and failure.reply.is_permanent
        verdict = Verdict.BOUNCE if permanent else Verdict.DEFER
        return replace(outcome, blast=Blast.RECIPIENT, verdict=verdict)
    is_too_many = outcome.verdict is Verdict.AGAIN and failure.fault is not Fault.PARAMETERS
    if is_too_many and not was_taken:
        return replace(outcome, verdict=Verdict.DEFER)
    return outcome


def interrupted(stage: Stage) -> Judgement:
    """A transaction that the service itself broke off: nobody is decided by it.

    After the final dot the server may have taken the message all the same (invariant 5).
    """
    word = OUTCOME_UNKNOWN if stage is Stage.DOT else "interrupted"
    detail = "the service stopped before the server replied"
    fault = Outcome(stage, Verdict.DEFER, word, blast=Blast.MESSAGE, detail=detail)
    return Judgement(outcomes={}, fault=fault)
