"""Verify a stored profile without the API's rate limit, and print results of verify and doctor."""

from collections.abc import Sequence
from typing import Final

import typer

from app.api.profiles.verify_schemas import DiagnosisRead, ProfileVerify, StageRead, VerifyRead
from app.api.profiles.verify_service import build_check, save_recommendation
from app.auth.profiles import require_profile
from app.cli.database import open_current_database
from app.cli.input import validation_errors
from app.cli.terminal import print_table, print_transcript
from app.diagnostics.ehlo_trials import Check
from app.diagnostics.machine_findings import Finding
from app.diagnostics.verifier import Verifier
from app.domain.clock import SystemClock
from app.domain.errors import Conflict, NotFound
from app.domain.types import Profile, Transport
from app.sending_services import make_verifier
from app.settings.model import Settings
from app.store.db.database import Database
from app.store.profiles import queries as profiles
from app.store.profiles.ehlo_names import load_other_names
from app.store.tenants import queries as tenants

STAGE_COLUMNS: Final = ("stage", "status", "ms", "finding")
NAME_COLUMNS: Final = ("name", "source", "accepted", "at", "server's reply")
ADVICE_COLUMNS: Final = ("check", "status", "finding", "rule")
FINDING_COLUMNS: Final = ("check", "status", "finding")


async def verify_profile(
    settings: Settings, tenant: str, profile: str, body: ProfileVerify
) -> VerifyRead:
    """Verify a profile by name or id. Raises InvalidRequest, NotFound, Conflict."""
    async with open_current_database(settings) as database:
        async with database.reading() as connection:
            owner = await tenants.get(connection, tenant=tenant)
            stored_profile = await require_profile(connection, owner.id, profile, caller_key=None)
        with validation_errors():
            check = build_check(stored_profile, body)
        verifier = make_verifier(settings, database, SystemClock())
        return await verify_stored(database, verifier, stored_profile, check)


async def verify_stored(
    database: Database, verifier: Verifier, profile: Profile, check: Check | None = None
) -> VerifyRead:
    """Verify a stored profile, and store the recommended name. Raises NotFound, Conflict."""
    async with database.reading() as connection:
        delivery_profile = await profiles.load_for_delivery(
            connection, tenant_id=profile.tenant_id, profile_id=profile.id
        )
        other_names = await load_other_names(
            connection, tenant_id=profile.tenant_id, profile_id=profile.id
        )
    if delivery_profile is None:
        raise NotFound("profile", profile.name)
    if delivery_profile.profile.transport is Transport.SANDBOX:
        raise Conflict("nothing-to-verify", "A sandbox has no server to verify.")
    report = await verifier.verify_stored(delivery_profile, check, other_names=other_names)
    await save_recommendation(database, delivery_profile.profile, report, verifier.now())
    return VerifyRead.of(report, verifier.now())


def print_verify(result: VerifyRead, *, with_transcript: bool = False) -> None:
    """Print one verify: stages, EHLO trials, advice, and what to do."""
    print_table(STAGE_COLUMNS, [_row(stage) for stage in result.stages])
    if with_transcript:
        for stage in result.stages:
            print_transcript(stage.transcript)
    if result.ehlo_diagnosis is not None:
        _print_diagnosis(result.ehlo_diagnosis)
    print_table(ADVICE_COLUMNS, [(a.check, a.status, a.detail, a.reason) for a in result.advice])
    typer.echo("All tested stages succeeded." if result.ok else f"Failed: {result.code}.")
    if result.hint:
        typer.echo(result.hint)


def _row(stage: StageRead) -> tuple[object, ...]:
    return stage.stage, stage.status, round(stage.duration_ms, 1), stage.detail


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
