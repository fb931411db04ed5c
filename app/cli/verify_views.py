"""Print the results of verify and `heloise doctor`."""

from collections.abc import Sequence
from typing import Final

import typer

from app.api.profiles.verify_schemas import DiagnosisRead, StageRead, VerifyRead
from app.cli.printing import print_table
from app.diagnostics.machine_findings import Finding

STAGE_COLUMNS: Final = ("stage", "status", "ms", "finding")
NAME_COLUMNS: Final = ("name", "source", "accepted", "at", "server's reply")
ADVICE_COLUMNS: Final = ("check", "status", "finding", "rule")
FINDING_COLUMNS: Final = ("check", "status", "finding")


def print_verify(result: VerifyRead, *, with_transcript: bool = False) -> None:
    """Print one verify: stages, EHLO trials, advice, and what to do."""
    print_table(STAGE_COLUMNS, [_row(stage) for stage in result.stages])
    if with_transcript:
        _print_transcript(result.stages)
    if result.ehlo_diagnosis is not None:
        _print_diagnosis(result.ehlo_diagnosis)
    print_table(ADVICE_COLUMNS, [(a.check, a.status, a.detail, a.reason) for a in result.advice])
    typer.echo("All tested stages succeeded." if result.ok else f"Failed: {result.code}.")
    if result.hint:
        typer.echo(result.hint)


def _row(stage: StageRead) -> tuple[object, ...]:
    return stage.stage, stage.status, round(stage.duration_ms, 1), stage.detail


def _print_transcript(stages: Sequence[StageRead]) -> None:
    marks = {"client": "C:", "server": "S:", "note": "--"}
    for stage in stages:
        for line in stage.transcript:
            typer.echo(f"{line.ms:10.1f} {marks[line.by]} {line.text}")


def _print_diagnosis(diagnosis: DiagnosisRead) -> None:
    print_table(
        NAME_COLUMNS, [(n.name, n.source, n.accepted, n.at, n.reply) for n in diagnosis.names]
    )
    if diagnosis.detail:
        typer.echo(diagnosis.detail)


def print_findings(findings: Sequence[Finding]) -> None:
    """Print the findings about the machine."""
    print_table(
        FINDING_COLUMNS, [(finding.check, finding.status, finding.detail) for finding in findings]
    )
