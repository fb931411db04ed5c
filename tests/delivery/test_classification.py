"""What one mail transaction means for each recipient, and for the profile (invariant 6)."""

from dataclasses import replace

import pytest

from app.delivery.classification import (
    TransactionResult,
    build_interrupted_result,
    classify_transaction,
)
from app.domain.outcome.outcome import Failure, FailureScope, Fault, Stage, Verdict
from app.smtp.session import Transaction
from tests.delivery.builders import OK, lost_connection, refusal

A, B, C = "ann@example.org", "bob@example.org", "carol@example.org"
GONE = refusal(Stage.RCPT, 550, "No such user", "5.1.1")
GREY = refusal(Stage.RCPT, 450, "Greylisted", "4.2.0")
MANY = refusal(Stage.RCPT, 452, "Too many recipients", "4.5.3")
HELO = refusal(
    Stage.RCPT, 504, "<[127.0.0.1]>: Helo command rejected: need fully-qualified hostname", "5.5.2"
)


def classify(transaction: Transaction, *, fresh: bool = True) -> TransactionResult:
    """The result on a transaction to three recipients."""
    return classify_transaction(transaction, [A, B, C], fresh=fresh, authenticated=True)


def verdicts(result: TransactionResult) -> dict[str, Verdict]:
    """Address to verdict."""
    return {address: outcome.verdict for address, outcome in result.outcomes.items()}


def test_what_the_server_takes_is_delivered_to_all() -> None:
    """One 250 after the dot speaks for every recipient."""
    result = classify(Transaction(reply=OK))
    assert verdicts(result) == dict.fromkeys([A, B, C], Verdict.DELIVERED)
    assert result.main.reply == OK


def test_a_recipients_refusal_touches_that_recipient() -> None:
    """The others are delivered."""
    result = classify(Transaction({A: GONE, B: GREY}, reply=OK))
    assert verdicts(result) == {
        A: Verdict.BOUNCE,
        B: Verdict.DEFER,
        C: Verdict.DELIVERED,
    }
    assert result.fault is None


def test_the_worst_is_what_an_attempt_is_known_by_only_without_success() -> None:
    """A message that went through to one is a delivery; one that all refused is not."""
    assert classify(Transaction({A: GONE}, reply=OK)).main.verdict is Verdict.DELIVERED
    assert classify(Transaction(dict.fromkeys([A, B, C], GONE))).main.verdict is Verdict.BOUNCE


@pytest.mark.parametrize(
    ("failure", "verdict"),
    [
        (refusal(Stage.DATA, 451, "try later", "4.3.0"), Verdict.DEFER),
        (refusal(Stage.DOT, 554, "spam", "5.7.1"), Verdict.BOUNCE),
        (lost_connection(Stage.DATA), Verdict.DEFER),
        (lost_connection(Stage.DOT), Verdict.DEFER),
    ],
)
def test_a_messages_failure_touches_those_who_were_left(failure: Failure, verdict: Verdict) -> None:
    """Whom the server had refused before keeps that verdict."""
    result = classify(Transaction({A: GONE}, failure=failure))
    assert verdicts(result) == {A: Verdict.BOUNCE, B: verdict, C: verdict}
    assert result.fault is None


def test_a_lost_reply_to_the_final_dot_is_told() -> None:
    """The server may have taken the message (invariant 5)."""
    outcome = classify(Transaction(failure=lost_connection(Stage.DOT))).outcomes[A]
    assert outcome.outcome_unknown


def test_a_refused_name_is_the_profiles_fault() -> None:
    """Servers that delay it say so at RCPT; no recipient is touched."""
    result = classify(Transaction(dict.fromkeys([A, B, C], HELO)))
    assert result.fault is not None
    assert result.fault.scope is FailureScope.PROFILE
    assert result.fault.classification == "ehlo_rejected"
    assert result.outcomes == {}


def test_no_name_is_at_fault_where_others_were_taken() -> None:
    """What looks like it is that recipient's own refusal, then."""
    result = classify(Transaction({A: HELO}, reply=OK))
    assert result.fault is None
    assert verdicts(result)[A] is Verdict.BOUNCE


def test_too_many_recipients_go_again_at_once() -> None:
    """But not where the server took none at all."""
    assert classify(Transaction({C: MANY}, reply=OK)).again == {C}
    none = classify(Transaction(dict.fromkeys([A, B, C], MANY)))
    assert none.again == frozenset()
    assert set(verdicts(none).values()) == {Verdict.DEFER}


def test_a_refusal_of_parameters_goes_again_at_once() -> None:
    """Even where the server took nobody: it is asked otherwise the next time."""
    result = classify(Transaction(dict.fromkeys([A, B, C], replace(GONE, fault=Fault.PARAMETERS))))
    assert (result.again, result.fault) == ({A, B, C}, None)
    result = classify(
        Transaction(failure=replace(refusal(Stage.MAIL, 555, "No"), fault=Fault.PARAMETERS))
    )
    assert (result.again, result.fault) == ({A, B, C}, None)


@pytest.mark.parametrize(
    "failure", [lost_connection(Stage.MAIL), refusal(Stage.MAIL, 421, "idle too long")]
)
def test_a_used_connection_that_is_closed_under_mail_says_nothing(failure: Failure) -> None:
    """It was idle too long: neither profile nor message is at fault."""
    result = classify(Transaction(failure=failure), fresh=False)
    assert result.fault is not None
    assert result.fault.scope is FailureScope.CONNECTION


@pytest.mark.parametrize(
    ("stage", "unknown"), [(Stage.MAIL, False), (Stage.DATA, False), (Stage.DOT, True)]
)
def test_an_interrupted_transaction_decides_nobody(stage: Stage, *, unknown: bool) -> None:
    """It tells whether the server may have taken the message."""
    result = build_interrupted_result(stage)
    assert result.outcomes == {}
    assert result.main.outcome_unknown is unknown
