"""Report a failed stage with delivery's code and a hint."""

from collections.abc import Sequence

from app.diagnostics.report import StageReport, Status, Step
from app.domain.outcome.dialogue_lines import Line
from app.domain.outcome.failure_table import classify
from app.domain.outcome.hints import describe, suggest
from app.domain.outcome.outcome import Failure
from app.smtp.identity import ConnectionFacts

NO_FACTS = ConnectionFacts()


def build_failed_report(
    step: Step,
    failure: Failure,
    *,
    facts: ConnectionFacts = NO_FACTS,
    duration_ms: float = 0.0,
    transcript: Sequence[Line] = (),
) -> StageReport:
    """Build the report of a failed stage."""
    is_known = facts.auth_mechanism is not None
    outcome = classify(failure, fresh=True, authenticated=is_known)
    return StageReport(
        stage=step,
        status=Status.FAILED,
        duration_ms=duration_ms,
        detail=describe(outcome),
        code=outcome.classification,
        hint=suggest(outcome, ehlo_name=facts.ehlo_name, ehlo_source=facts.ehlo_source),
        transcript=tuple(transcript),
    )
