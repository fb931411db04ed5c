"""Report the stages of an opened or failed session."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Final, NamedTuple

from app.diagnostics.report import StageReport, Status, Step, fail_stage
from app.domain.ehlo import LOOPBACK
from app.domain.outcome.dialogue_lines import Line
from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.types import TlsMode
from app.smtp.identity import ConnectionFacts, Identity
from app.smtp.session import Session
from app.smtp.session_opening import OpenFailure

STEPS: Final = {
    Stage.BANNER: Step.BANNER,
    Stage.EHLO: Step.EHLO,
    Stage.TLS: Step.TLS,
    Stage.AUTH: Step.AUTH,
}
EXPIRES_SOON_DAYS: Final = 21


class _Run(NamedTuple):
    """The dialogue at one stage, and its duration."""

    step: Step
    lines: Sequence[Line]
    duration_ms: float


def report_opening(
    opening: Session | OpenFailure, identity: Identity, now: datetime
) -> list[StageReport]:
    """Report each stage that began; the last one may have failed."""
    facts = opening.facts
    runs = list(_split_runs(opening.transcript.lines))
    reports = [_report_passed(run, facts, identity, now) for run in runs]
    if isinstance(opening, Session):
        return reports
    at = _failed_step(opening, runs)
    run = runs.pop() if runs and runs[-1].step is at else _Run(at, (), 0.0)
    # Includes the wait for a reply that did not come.
    waited_ms = opening.transcript.seconds * 1000 - sum(run.duration_ms for run in runs)
    report = _report_passed(run._replace(duration_ms=round(waited_ms, 3)), facts, identity, now)
    return [*reports[: len(runs)], fail_stage(report, opening.failure, facts)]


def report_check(session: Session, failure: Failure | None) -> Iterator[StageReport]:
    """Report MAIL and RCPT, of which one may have failed.

    If the server rejects BDAT, warns at RCPT: delivery uses DATA instead.
    """
    chunking_failure = failure if failure is not None and failure.fault is Fault.CHUNKING else None
    lines, seconds = session.transcript.lines, session.transcript.seconds
    for step, at in ((Step.MAIL, Stage.MAIL), (Step.RCPT, Stage.RCPT)):
        stage_lines = tuple(line for line in lines if line.stage is at)
        began_ms, ended_ms = (stage_lines[0].ms, stage_lines[-1].ms) if stage_lines else (0.0, 0.0)
        stage_failure = failure if failure is not None and failure.stage is at else None
        if stage_failure is not None and stage_failure.reply is None:
            ended_ms = seconds * 1000
        report = StageReport(
            stage=step,
            duration_ms=round(ended_ms - began_ms, 3),
            detail="taken",
            transcript=stage_lines,
        )
        if stage_failure is not None:
            yield fail_stage(report, stage_failure, session.facts)
            return
        if chunking_failure is not None and step is Step.RCPT:
            report = replace(
                report,
                status=Status.WARNING,
                code=Fault.CHUNKING.value,
                detail=f"accepted; but {chunking_failure.detail}",
                transcript=(*stage_lines, *(line for line in lines if line.stage is Stage.DATA)),
            )
        yield report


def _split_runs(lines: Sequence[Line]) -> Iterator[_Run]:
    ended_ms, is_after_tls = 0.0, False
    for stage, group in groupby(lines, key=lambda line: line.stage):
        stage_lines = tuple(group)
        step = STEPS.get(stage)
        if step is not None:
            if step is Step.EHLO and is_after_tls:
                step = Step.EHLO_AFTER_TLS
            yield _Run(step, stage_lines, round(stage_lines[-1].ms - ended_ms, 3))
        # With `implicit` the banner comes after TLS, and the only EHLO after that.
        is_after_tls = (is_after_tls or step is Step.TLS) and step is not Step.BANNER
        ended_ms = stage_lines[-1].ms


def _failed_step(opening: OpenFailure, runs: Sequence[_Run]) -> Step:
    at = STEPS.get(opening.failure.stage, Step.TCP)
    return Step.EHLO_AFTER_TLS if at is Step.EHLO and _is_second_ehlo(runs) else at


def _is_second_ehlo(runs: Sequence[_Run]) -> bool:
    return any(run.step is Step.EHLO for run in runs) and runs[-1].step in {
        Step.TLS,
        Step.EHLO_AFTER_TLS,
    }


def _report_passed(
    run: _Run, facts: ConnectionFacts, identity: Identity, now: datetime
) -> StageReport:
    report = StageReport(stage=run.step, duration_ms=run.duration_ms, transcript=tuple(run.lines))
    match run.step:
        case Step.BANNER:
            return replace(report, greeting=facts.banner, detail=facts.banner or "greeted")
        case Step.EHLO | Step.EHLO_AFTER_TLS:
            return _report_greeting(report, facts, identity)
        case Step.TLS:
            return _report_tls(report, facts, identity, now)
        case Step.AUTH:
            return replace(
                report,
                mechanisms_offered=facts.auth_offered,
                mechanism=facts.auth_mechanism,
                detail=f"logged in with {facts.auth_mechanism}",
            )
        case _:
            return report


def _report_greeting(
    report: StageReport, facts: ConnectionFacts, identity: Identity
) -> StageReport:
    warnings = identity.ehlo(facts.local_address or LOOPBACK).warnings
    number = 1 if report.stage is Step.EHLO_AFTER_TLS else 0
    answer = facts.greetings[number] if len(facts.greetings) > number else ""
    first, *extensions = answer.split("\n")
    return replace(
        report,
        ehlo_name=facts.ehlo_name,
        ehlo_source=facts.ehlo_source,
        greeting=first or None,
        extensions=tuple(extensions),
        status=Status.WARNING if warnings else Status.OK,
        detail=" ".join([f"sent EHLO {facts.ehlo_name}.", *warnings]),
    )


def _report_tls(
    report: StageReport, facts: ConnectionFacts, identity: Identity, now: datetime
) -> StageReport:
    tls_report = replace(
        report,
        tls_version=facts.tls_version,
        tls_cipher=facts.tls_cipher,
        certificate=facts.certificate,
        detail=f"{facts.tls_version} with {facts.tls_cipher}",
    )
    if identity.tls is TlsMode.OPPORTUNISTIC:
        detail = f"{tls_report.detail}; `opportunistic` does not verify the certificate"
        return replace(tls_report, status=Status.WARNING, detail=detail)
    days = None if tls_report.certificate is None else tls_report.certificate.expires_in_days(now)
    if days is not None and days < EXPIRES_SOON_DAYS:
        detail = f"{tls_report.detail}; the certificate expires in {days} days"
        return replace(tls_report, status=Status.WARNING, detail=detail)
    return tls_report


def fill_stages(reports: Sequence[StageReport], identity: Identity) -> Iterator[StageReport]:
    """Report every stage; a skipped stage explains why."""
    reports_by_step = {report.stage: report for report in reports}
    failed_at = next(
        (report.stage.value for report in reports if report.status is Status.FAILED), None
    )
    steps = list(Step)
    if identity.tls is TlsMode.IMPLICIT:
        steps.remove(Step.TLS)
        steps.insert(steps.index(Step.BANNER), Step.TLS)
    for step in steps:
        reason = _explain_skip(step, identity) or (
            f"not reached: failed at {failed_at}" if failed_at else None
        )
        yield reports_by_step.get(step) or StageReport(
            stage=step, status=Status.SKIPPED, detail=reason or _NOT_REQUESTED[step]
        )


_NOT_REQUESTED: Final = dict.fromkeys(Step, "not needed here") | {
    Step.MAIL: "no recipient given: many servers check the EHLO name only at MAIL or RCPT, so set"
    " a recipient to be sure",
    Step.RCPT: "no recipient given",
    Step.TLS: "the server does not offer STARTTLS, so mail travels unencrypted",
}


def _explain_skip(step: Step, identity: Identity) -> str | None:
    if step is Step.TLS and identity.tls is TlsMode.NONE:
        return "`tls` is none: everything travels unencrypted"
    if step is Step.EHLO_AFTER_TLS and identity.tls in {TlsMode.NONE, TlsMode.IMPLICIT}:
        return "only STARTTLS needs a second EHLO"
    if step is Step.AUTH and not identity.wants_auth:
        return "the profile has no username, so Heloise does not log in"
    return None
