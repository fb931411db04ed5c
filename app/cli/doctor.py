"""Define `heloise doctor`."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple

import typer
from pydantic import BaseModel

from app.api.profiles.verify_schemas import VerifyRead
from app.cli.database import PAGE_ROWS, opened
from app.cli.environment import checked_settings
from app.cli.printing import AsJson, print_json, print_table
from app.cli.verify_views import print_findings, print_verify
from app.cli.verifying import verified
from app.diagnostics.ehlo_advice import Verdict
from app.diagnostics.machine_findings import (
    Finding,
    database_findings,
    is_sound,
    name_finding,
    port_finding,
)
from app.domain.errors import SettingsError
from app.domain.types import Profile, Tenant, Transport
from app.settings import Settings
from app.store.db.clock import DatabaseClock
from app.store.db.engine import Database
from app.store.db.url import sqlite_path
from app.store.profiles import queries as profiles
from app.store.secrets.encryption import Vault
from app.store.tenants import queries as tenants
from app.worker import find_hostname, make_verifier

app = typer.Typer(add_completion=False)

WRONG: Final = 1
AT_ONCE: Final = 5
COLUMNS: Final = ("tenant", "profile", "greets as", "ok", "code", "hint")


class ProfileFound(BaseModel):
    """What became of one profile."""

    tenant: str
    profile: str
    verify: VerifyRead


class _Examined(NamedTuple):
    machine: list[Finding]
    profiles: list[ProfileFound]

    @property
    def is_sound(self) -> bool:
        return is_sound(self.machine) and all(profile.verify.ok for profile in self.profiles)


@app.command()
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
    settings = checked_settings()
    found = asyncio.run(_examine(settings, tenant))
    if as_json:
        print_json({"ok": found.is_sound, **found._asdict()})
    else:
        print_findings(found.machine)
        _print_profiles(found.profiles)
    if not found.is_sound:
        raise typer.Exit(WRONG)


def _print_profiles(found: Sequence[ProfileFound]) -> None:
    rows = [
        (e.tenant, e.profile, e.verify.ehlo.name, e.verify.ok, e.verify.code, e.verify.hint)
        for e in found
    ]
    if rows:
        print_table(COLUMNS, rows)
    for each in found:
        if not each.verify.ok:
            typer.echo(f"\n{each.profile} of {each.tenant}")
            print_verify(each.verify)


async def _examine(settings: Settings, tenant: str | None) -> _Examined:
    vault, machine = None, []
    try:
        vault = Vault(settings.encryption_keys())
        machine.append(Finding("secret_keys", Verdict.OK, "HELOISE_SECRET_KEYS holds a key"))
    except SettingsError as error:
        machine.append(Finding("secret_keys", Verdict.FAIL, str(error)))
    machine.append(await port_finding(settings.host, settings.port))
    machine.append(name_finding(settings.ehlo_name, find_hostname()))
    path = sqlite_path(settings.database_url)
    if path is not None and not path.exists():  # which opening it would make
        detail = f"the database {path} does not exist; run heloise migrate"
        return _Examined([*machine, Finding("database", Verdict.FAIL, detail)], [])
    async with opened(settings) as database:
        machine += await database_findings(
            database,
            lease_seconds=settings.lease_seconds,
            open_sealed=None if vault is None else vault.open,
        )
        is_usable = vault is not None and all(
            each.status is not Verdict.FAIL for each in machine if each.check == "database"
        )
        found = await _verify_all(settings, database, tenant) if is_usable else []
    return _Examined(machine, found)


async def _verify_all(
    settings: Settings, database: Database, tenant: str | None
) -> list[ProfileFound]:
    clock = DatabaseClock(database)
    await clock.measure()
    verifies = make_verifier(settings, database, clock)
    slots = asyncio.Semaphore(AT_ONCE)

    async def verify(owner: Tenant, profile: Profile) -> ProfileFound:
        async with slots:
            found = await verified(database, verifies, profile)
        return ProfileFound(tenant=owner.slug, profile=profile.name, verify=found)

    every = await _profiles(database, tenant)
    return list(await asyncio.gather(*(verify(owner, each) for owner, each in every)))


async def _profiles(database: Database, tenant: str | None) -> list[tuple[Tenant, Profile]]:
    found: list[tuple[Tenant, Profile]] = []
    async with database.reading() as connection:
        owners = (
            [await tenants.get(connection, tenant=tenant)]
            if tenant is not None
            else await _tenants(database)
        )
        for owner in owners:
            after: str | None = None
            while rows := await profiles.page(
                connection, tenant_id=owner.id, limit=PAGE_ROWS, after=after
            ):
                after = rows[-1].id
                found += [(owner, row) for row in rows if row.transport is Transport.SMTP]
    return found


async def _tenants(database: Database) -> list[Tenant]:
    found: list[Tenant] = []
    async with database.reading() as connection:
        while rows := await tenants.page(
            connection, limit=PAGE_ROWS, after=found[-1].id if found else None
        ):
            found += rows
    return found
