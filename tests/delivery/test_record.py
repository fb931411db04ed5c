"""What an attempt keeps of a provider's reply, and of a worker that stopped."""

from uuid import UUID

import pytest

from app.delivery.classification import TransactionResult
from app.delivery.record import Recorder
from app.domain.outcome.outcome import Outcome, Stage, Verdict, build_delivered
from app.domain.outcome.replies import Reply
from app.smtp.identity import ConnectionFacts
from tests.delivery.builders import NOW, OK, claimed_message

SES_ID = "0102018f3a6b1c2d-5e4f3a2b-1c0d-4e9f-8a7b-6c5d4e3f2a1b-000000"
MESSAGE = "msg_0198c5a2d3f07b6e8a4c1d2e3f405162"
OWN = f"{UUID(MESSAGE[4:])}@example.com"


@pytest.mark.parametrize(
    ("outcome", "provider_message_id"),
    [
        (build_delivered(Reply.parse(250, f"Ok {SES_ID}")), SES_ID),
        (build_delivered(Reply.parse(250, "2.0.0 OK: queued as <1@x.example>")), "1@x.example"),
        (build_delivered(Reply.parse(250, f"2.0.0 OK: queued as <{OWN}>")), None),
        (build_delivered(OK), None),
        (Outcome(Stage.DOT, Verdict.DEFER, "deferred", reply=Reply(451, f"Ok {SES_ID}")), None),
    ],
    ids=["ses", "brevo", "the message's own", "a queue id", "not delivered"],
)
def test_the_providers_id_is_kept(outcome: Outcome, provider_message_id: str | None) -> None:
    """If a webhook may name it, and Heloise would not find the message without."""
    message = claimed_message()
    message.id = MESSAGE  # type: ignore[misc] # frozen for the type checker alone
    row = Recorder(worker="wrk_1", now=lambda: NOW).build_row(
        message,
        ConnectionFacts(),
        TransactionResult(outcomes={"ann@example.org": outcome}),
        started_at=NOW,
        seconds=0.1,
    )
    assert row["provider_message_id"] == provider_message_id


def test_the_attempt_of_a_worker_that_stopped_names_that_worker() -> None:
    """Whether it sent the message is unknown (invariant 5)."""
    message = claimed_message()
    message.former_owner = "wrk_gone"  # type: ignore[misc] # frozen for the type checker alone
    row = Recorder(worker="wrk_1", now=lambda: NOW).build_takeover_row(message)
    assert (row["worker"], row["message_id"], row["started_at"]) == ("wrk_gone", message.id, NOW)
    assert (row["stage"], row["outcome_unknown"]) == ("dot", True)
    assert "wrk_gone stopped during the transmission" in row["detail"]
