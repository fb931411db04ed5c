"""Define `heloise doctor`."""

import asyncio
import sysconfig
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final, NamedTuple

import typer
from pydantic import BaseModel

from app.api.profiles.verify_schemas import VerifyRead
from app.cli.database import open_database, read_all, require_file
from app.cli.input import load_settings
from app.cli.terminal import AsJson, print_json, print_table
from app.cli.verification import print_findings, print_verify, verify_stored
from app.diagnostics.database_findings import check_health
from app.diagnostics.ehlo_advice import AdviceStatus
from app.diagnostics.machine_findings import (
    Finding,
    check_database,
    check_default_name,
    check_interpreter,
    check_port,
    is_sound,
)
from app.domain.ehlo import EhloNames
from app.domain.errors import SettingsError
from app.domain.types import Profile, Tenant, Transport
from app.process import find_hostname
from app.sending_services import make_verifier
from app.settings.model import Settings
from app.store.db.clock import DatabaseClock
from app.store.db.database import Database, count_most_connections
from app.store.profiles import queries as profiles
from app.store.secrets.encryption import Vault
from app.store.tenants import queries as tenants

PROBLEMS_FOUND: Final = 1
MAX_CONCURRENT: Final = 5
COLUMNS: Final = ("tenant", "profile", "greets as", "ok", "code", "hint")


class ProfileResult(BaseModel):
    """The result for one profile."""

    tenant: str
    profile: str
    verify: VerifyRead


class _DoctorResult(NamedTuple):
    machine: list[Finding]
    profiles: list[ProfileResult]

    @property
    def is_sound(self) -> bool:
        return is_sound(self.machine) and all(profile.verify.ok for profile in self.profiles)


def doctor(
    *,
    tenant: Annotated[
        str | None, typer.Option("--tenant", "-t", help="Check only this tenant's profiles.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find problems on this machine and at every profile's server.

    Sends no mail. Exits with 1 if it finds a problem.
    """
    settings = load_settings()
    examination = asyncio.run(_run_checks(settings, tenant))
    if as_json:
        print_json({"ok": examination.is_sound, **examination._asdict()})
    else:
        print_findings(examination.machine)
        _print_profiles(examination.profiles)
    if not examination.is_sound:
        raise typer.Exit(PROBLEMS_FOUND)


def _print_profiles(results: Sequence[ProfileResult]) -> None:
    rows = [
        (
            result.tenant,
            result.profile,
            result.verify.ehlo.name,
            result.verify.ok,
            result.verify.code,
            result.verify.hint,
        )
        for result in results
    ]
    if rows:
        print_table(COLUMNS, rows)
    for result in results:
        if not result.verify.ok:
            typer.echo(f"\n{result.profile} of {result.tenant}")
            print_verify(result.verify)


async def _run_checks(settings: Settings, tenant: str | None) -> _DoctorResult:
    vault, machine = None, []
    try:
        vault = Vault(settings.load_encryption_keys())
        machine.append(Finding("secret_keys", AdviceStatus.OK, "HELOISE_SECRET_KEYS holds a key"))
    except SettingsError as error:
        machine.append(Finding("secret_keys", AdviceStatus.FAIL, str(error)))
    machine.append(await check_port(settings.host, settings.port))
    machine.append(
        check_default_name(EhloNames(service=settings.ehlo_name, hostname=find_hostname()))
    )
    machine.append(check_interpreter(sysconfig.get_config_var("CONFIG_ARGS")))
    try:
        require_file(settings)
    except SettingsError as error:
        machine.append(Finding("database", AdviceStatus.FAIL, str(error)))
        return _DoctorResult(machine, [])
    async with open_database(settings) as database:
        machine += await check_database(
            database,
            lease_seconds=settings.lease_seconds,
            open_sealed=None if vault is None else vault.open,
        )
        is_usable = all(
            finding.status is not AdviceStatus.FAIL
            for finding in machine
            if finding.check == "database"
        )
        if is_usable:
            machine += await check_health(
                database,
                default_retention=settings.build_retention(),
                process_connections=count_most_connections(settings.database_pool_size),
            )
        results = (
            await _verify_all(settings, database, tenant) if is_usable and vault is not None else []
        )
    return _DoctorResult(machine, results)


async def _verify_all(
    settings: Settings, database: Database, tenant: str | None
) -> list[ProfileResult]:
    clock = DatabaseClock(database)
    await clock.measure()
    verifier = make_verifier(settings, database, clock)
    slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def verify(owner: Tenant, profile: Profile) -> ProfileResult:
        async with slots:
            result = await verify_stored(database, verifier, profile)
        return ProfileResult(tenant=owner.slug, profile=profile.name, verify=result)

    owned_profiles = await _list_profiles(database, tenant)
    return list(
        await asyncio.gather(*(verify(owner, profile) for owner, profile in owned_profiles))
    )


async def _list_profiles(database: Database, tenant: str | None) -> list[tuple[Tenant, Profile]]:
    async with database.reading() as connection:
        owners = (
            [await tenants.get(connection, tenant=tenant)]
            if tenant is not None
            else await read_all(partial(tenants.page, connection))
        )
        return [
            (owner, profile)
            for owner in owners
            for profile in await read_all(partial(profiles.page, connection, tenant_id=owner.id))
            if profile.transport is Transport.SMTP
        ]
