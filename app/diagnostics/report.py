"""Define the results of verify."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from app.diagnostics.ehlo_advice import Advice
from app.diagnostics.ehlo_candidates import Candidate
from app.domain.ehlo import EffectiveEhlo
from app.domain.outcome.dialogue_lines import Line
from app.domain.outcome.failure_table import classify
from app.domain.outcome.hints import describe, suggest
from app.domain.outcome.outcome import Failure
from app.domain.outcome.replies import Reply
from app.smtp.certificate_details import Certificate as Certificate  # noqa: PLC0414 - app.api must not import SMTP
from app.smtp.identity import ConnectionFacts

NO_FACTS: Final = ConnectionFacts()


class Step(StrEnum):
    """Stages of verify, in order. With `implicit`, TLS precedes the banner."""

    ADDRESS_GUARD = "address_guard"
    DNS = "dns"
    TCP = "tcp"
    BANNER = "banner"
    EHLO = "ehlo"
    TLS = "tls"
    EHLO_AFTER_TLS = "ehlo_after_tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"


class Status(StrEnum):
    """How a stage ended. `skipped`: not reached or not requested."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressAttempt:
    """One of the server's addresses: its connection time, or its error."""

    address: str
    duration_ms: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """One stage. `code` is a stable word for the failure; `hint` says what to change.

    The fields after them are None or empty if they do not apply to the stage. `extensions` are
    the lines of the EHLO reply after the first.
    """

    stage: Step
    status: Status = Status.OK
    duration_ms: float = 0.0
    detail: str = ""
    code: str | None = None
    hint: str | None = None
    transcript: tuple[Line, ...] = ()
    addresses: tuple[AddressAttempt, ...] = ()
    ehlo_name: str | None = None
    ehlo_source: str | None = None
    greeting: str | None = None
    extensions: tuple[str, ...] = ()
    tls_version: str | None = None
    tls_cipher: str | None = None
    certificate: Certificate | None = None
    mechanisms_offered: tuple[str, ...] = ()
    mechanism: str | None = None


def fail_stage(
    report: StageReport, failure: Failure, facts: ConnectionFacts = NO_FACTS
) -> StageReport:
    """Return the report of a stage that failed, with delivery's code and a hint."""
    is_known = facts.auth_mechanism is not None
    outcome = classify(failure, fresh=True, authenticated=is_known)
    return replace(
        report,
        status=Status.FAILED,
        detail=describe(outcome),
        code=outcome.classification,
        hint=suggest(outcome, ehlo_name=facts.ehlo_name, ehlo_source=facts.ehlo_source),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NameTrial:
    """A candidate and its result; `is_accepted` is None if it was not tried.

    `at` is the stage that refused it, or the last stage that accepted it.
    """

    candidate: Candidate
    is_accepted: bool | None
    at: str | None = None
    reply: Reply | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The recommended name, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The names that were tried, and the recommended one, if any was accepted."""

    names: tuple[NameTrial, ...]
    recommendation: Recommendation | None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One verify, with all stages; `diagnosis` is set if the name was refused."""

    ehlo: EffectiveEhlo
    stages: tuple[StageReport, ...]
    advice: tuple[Advice, ...] = ()
    diagnosis: Diagnosis | None = None
    seconds: float = 0.0

    @property
    def is_ok(self) -> bool:
        """Whether no tested stage failed."""
        return all(stage.status is not Status.FAILED for stage in self.stages)

    @property
    def failed_stage(self) -> StageReport | None:
        """Return the stage that failed, or None."""
        return next((stage for stage in self.stages if stage.status is Status.FAILED), None)
