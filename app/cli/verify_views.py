"""Print the results of verify and `heloise doctor`."""

from collections.abc import Sequence
from typing import Final

import typer

from app.api.profiles.verify_schemas import DiagnosisRead, StageRead, VerifyRead
from app.cli.printing import print_table
from app.diagnostics.machine_findings import Finding

STAGES: Final = ("stage", "status", "ms", "finding")
NAMES: Final = ("name", "source", "accepted", "at", "server's reply")
ADVICE: Final = ("check", "status", "finding", "rule")
FINDINGS: Final = ("check", "status", "finding")


def print_verify(found: VerifyRead, *, with_transcript: bool = False) -> None:
    """Print one verify: its stages, the doctor's table, the advice, and at the end what to do."""
    print_table(STAGES, [_row(stage) for stage in found.stages])
    if with_transcript:
        _print_transcript(found.stages)
    if found.ehlo_diagnosis is not None:
        _print_diagnosis(found.ehlo_diagnosis)
    print_table(ADVICE, [(a.check, a.status, a.detail, a.reason) for a in found.advice])
    typer.echo("All tested stages succeeded." if found.ok else f"Failed: {found.code}.")
    if found.hint:
        typer.echo(found.hint)


def _row(stage: StageRead) -> tuple[object, ...]:
    return stage.stage, stage.status, round(stage.duration_ms, 1), stage.detail


def _print_transcript(stages: Sequence[StageRead]) -> None:
    marks = {"client": "C:", "server": "S:", "note": "--"}
    for stage in stages:
        for line in stage.transcript:
            typer.echo(f"{line.ms:10.1f} {marks[line.by]} {line.text}")


def _print_diagnosis(diagnosis: DiagnosisRead) -> None:
    print_table(NAMES, [(n.name, n.source, n.accepted, n.at, n.reply) for n in diagnosis.names])
    if diagnosis.detail:
        typer.echo(diagnosis.detail)


def print_findings(findings: Sequence[Finding]) -> None:
    """Print the findings about the machine."""
    print_table(FINDINGS, [(finding.check, finding.status, finding.detail) for finding in findings])
