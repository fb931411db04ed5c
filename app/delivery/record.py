"""Build the rows of `attempts` from a session's facts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.delivery.classification import Judgement
from app.domain.ids import new_id
from app.domain.outcome.outcome import OUTCOME_UNKNOWN, Blast, Outcome, Stage, Verdict
from app.domain.outcome.replies import Reply
from app.smtp.identity import ConnectionFacts
from app.smtp.transcript import Transcript
from app.store.outbox.queries import ClaimedMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Makes the rows of `attempts` that one worker writes, with transcripts where they are kept."""

    worker: str
    now: Callable[[], datetime]
    keeps_transcripts: bool = True

    def row(
        self,
        message: ClaimedMessage,
        facts: ConnectionFacts,
        judgement: Judgement,
        *,
        started_at: datetime,
        seconds: float,
        via: str | None = None,
        transcript: Transcript | None = None,
    ) -> Mapping[str, Any]:
        """One attempt: where it ended, what the server said, under which name it was asked.

        `via` is the profile that stood in for the message's own.
        """
        main = judgement.main
        return {
            "id": new_id("att"),
            "tenant_id": message.tenant_id,
            "message_id": message.id,
            "profile_id": via or message.profile_id,
            "worker": self.worker,
            "started_at": started_at,
            "duration_ms": round(seconds * 1000, 3),
            "host": facts.host,
            "port": facts.port,
            "remote_address": facts.remote_address,
            "ehlo_name": facts.ehlo_name,
            "ehlo_source": facts.ehlo_source,
            "tls_version": facts.tls_version,
            "tls_cipher": facts.tls_cipher,
            "auth_mechanism": facts.auth_mechanism,
            "stage": main.stage.value,
            "scope": main.blast.value if main.blast else None,
            "verdict": main.verdict.value,
            "classification": main.classification,
            **_reply_columns(main.reply),
            "detail": main.detail or None,
            "outcome_unknown": main.outcome_unknown,
            "recipients": [
                _recipient_entry(address, outcome)
                for address, outcome in judgement.outcomes.items()
            ],
            "transcript": transcript.text
            if transcript is not None and self.keeps_transcripts
            else None,
        }

    def taken_over(self, message: ClaimedMessage) -> Mapping[str, Any]:
        """The record of an attempt whose worker died."""
        lost = Outcome(
            Stage.DOT,
            Verdict.DEFER,
            OUTCOME_UNKNOWN,
            blast=Blast.MESSAGE,
            detail=f"the worker {message.former_owner} stopped during the transmission; whether it"
            " sent the message is unknown",
        )
        row = self.row(
            message,
            ConnectionFacts(),
            Judgement(outcomes={}, fault=lost),
            started_at=self.now(),
            seconds=0.0,
        )
        return {**row, "worker": message.former_owner}


def _reply_columns(reply: Reply | None) -> dict[str, Any]:
    return {
        "reply_code": reply.code if reply else None,
        "reply_enhanced_code": reply.enhanced_code if reply else None,
        "reply_text": reply.text if reply else None,
    }


def _recipient_entry(address: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "address": address,
        "stage": outcome.stage.value,
        "verdict": outcome.verdict.value,
        "classification": outcome.classification,
        **_reply_columns(outcome.reply),
    }
