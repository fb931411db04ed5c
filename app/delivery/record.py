"""Build the rows of `attempts` from a session's facts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.delivery.classification import TransactionResult
from app.domain.ids import new_id
from app.domain.inbound.provider import read_provider_message_id
from app.domain.mime.build import parse_message_id
from app.domain.outcome.outcome import OUTCOME_UNKNOWN, FailureScope, Outcome, Stage, Verdict
from app.domain.outcome.replies import Reply
from app.smtp.identity import ConnectionFacts
from app.smtp.transcript import Transcript
from app.store.outbox.claims import ClaimedMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Builds the rows of one worker, with the transcripts that the service keeps.

    These are all, none, or those of attempts that did not deliver to every recipient.
    """

    worker: str
    now: Callable[[], datetime]
    keeps_transcripts: bool = True
    keeps_delivered: bool = True

    def build_row(
        self,
        message: ClaimedMessage,
        facts: ConnectionFacts,
        result: TransactionResult,
        *,
        started_at: datetime,
        seconds: float,
        via: str | None = None,
        transcript: Transcript | None = None,
    ) -> Mapping[str, Any]:
        """Build the row of one attempt: its connection, the stage it reached, the replies.

        `via` is the profile that sent instead of the message's own.
        """
        main = result.main
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
            "scope": main.scope.value if main.scope else None,
            "verdict": main.verdict.value,
            "classification": main.classification,
            **_reply_columns(main.reply),
            "detail": main.detail or None,
            "outcome_unknown": main.outcome_unknown,
            "request_id": message.request_id,
            "traceparent": message.traceparent,
            "recipients": [
                _recipient_entry(address, outcome) for address, outcome in result.outcomes.items()
            ],
            "provider_message_id": _read_provider_message_id(message, main),
            "transcript": transcript.text
            if transcript is not None and self._keeps_transcript(result)
            else None,
        }

    def _keeps_transcript(self, result: TransactionResult) -> bool:
        if not self.keeps_transcripts or self.keeps_delivered:
            return self.keeps_transcripts
        return result.fault is not None or any(
            outcome.verdict is not Verdict.DELIVERED for outcome in result.outcomes.values()
        )

    def build_takeover_row(self, message: ClaimedMessage) -> Mapping[str, Any]:
        """Build the row of an attempt whose worker stopped: its outcome is unknown."""
        unknown = Outcome(
            Stage.DOT,
            Verdict.DEFER,
            OUTCOME_UNKNOWN,
            scope=FailureScope.MESSAGE,
            detail=f"the worker {message.former_owner} stopped during the transmission; whether it"
            " sent the message is unknown",
        )
        row = self.build_row(
            message,
            ConnectionFacts(),
            TransactionResult(outcomes={}, fault=unknown),
            started_at=self.now(),
            seconds=0.0,
        )
        return {**row, "worker": message.former_owner}


def _read_provider_message_id(message: ClaimedMessage, main: Outcome) -> str | None:
    """Return the provider's id of a delivered message, unless it is the message's own id."""
    if main.verdict is not Verdict.DELIVERED or main.reply is None:
        return None
    provider_message_id = read_provider_message_id(main.reply.text)
    if provider_message_id is None or parse_message_id(provider_message_id) == message.id:
        return None
    return provider_message_id


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
