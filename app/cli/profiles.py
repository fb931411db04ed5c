"""Define `heloise profile`."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Unpack

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.profiles import service as profile_actions
from app.api.profiles.responses import ProfileRead
from app.api.profiles.schemas import ProfileCreate, ProfileUpdate
from app.auth.audit_context import AuditContext
from app.auth.profiles import require_profile
from app.cli import profile_options as options
from app.cli.database import PAGE_ROWS, make_audit_context, read_all, transact
from app.cli.input import (
    AnyTenantOption,
    TenantOption,
    add_options,
    load_settings,
    validate_body,
    validate_options,
    validation_errors,
)
from app.cli.profile_views import (
    COLUMNS,
    build_profile_reads,
    build_row,
    print_profile,
    read_profile,
)
from app.cli.terminal import AsJson, Yes, confirm, print_json, print_table
from app.domain.clock import SystemClock
from app.domain.errors import Conflict
from app.domain.types import Profile, Tenant
from app.settings.model import Settings
from app.store.delivery.queue import QueueScope, page_profiles
from app.store.profiles import queries as profiles
from app.store.secrets.encryption import Vault
from app.store.tenants import queries as tenants

app = typer.Typer()

ProfileArgument = Annotated[
    str, typer.Argument(metavar="PROFILE", help="The profile's name or id.")
]
ProfileChange = Callable[[AsyncConnection, AuditContext, Profile], Awaitable[None]]


@app.command()
@add_options(options.ProfileOptions)
def create(
    file: options.File = None,
    *,
    tenant: TenantOption,
    as_json: AsJson = False,
    **cli_options: Unpack[options.ProfileOptions],
) -> None:
    """Create a profile. Heloise stores its password encrypted and never shows it."""
    body = validate_body(ProfileCreate, options.read_body(file, cli_options))
    settings = load_settings()
    vault = Vault(settings.load_encryption_keys())

    async def insert(connection: AsyncConnection) -> ProfileRead:
        owner = await tenants.get(connection, tenant=tenant)
        with validation_errors():
            profile = await profile_actions.create(
                connection,
                make_audit_context(),
                body,
                tenant_id=owner.id,
                vault=vault,
                guard=settings.build_guard(),
            )
        return await read_profile(connection, settings, owner, profile.id)

    print_profile(transact(settings, insert), as_json=as_json)


@app.command("list")
def list_all(
    tenant: AnyTenantOption = None,
    *,
    failing: Annotated[
        bool, typer.Option("--failing", help="Only profiles that are failing or stalled.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the profiles of a tenant, or of all, with their EHLO names and states."""
    settings = load_settings()

    async def read(connection: AsyncConnection) -> list[tuple[str, ProfileRead]]:
        owned_ids = await _list_owners(connection, tenant, only_faulty=failing)
        listed = list[tuple[str, ProfileRead]]()
        for owner, ids in owned_ids:
            page = partial(profiles.page, connection, tenant_id=owner.id, profile_ids=ids)
            reads = await build_profile_reads(connection, settings, owner, await read_all(page))
            listed += [(owner.slug, profile_read) for profile_read in reads]
        return listed

    rows = transact(settings, read)
    if as_json:
        print_json([{"tenant": owner, **read.model_dump(mode="json")} for owner, read in rows])
    else:
        print_table(("tenant", *COLUMNS), [(owner, *build_row(read)) for owner, read in rows])


async def _list_owners(
    connection: AsyncConnection, tenant: str | None, *, only_faulty: bool
) -> list[tuple[Tenant, Sequence[str] | None]]:
    """List tenants, each with the ids of its profiles to show; None for all of them."""
    owner = None if tenant is None else await tenants.get(connection, tenant=tenant)
    if only_faulty:
        faulty_ids = await _list_faulty_ids(
            connection, QueueScope(tenant_id=None if owner is None else owner.id)
        )
        return [
            (await tenants.get(connection, tenant=tenant_id), profile_ids)
            for tenant_id, profile_ids in faulty_ids.items()
        ]
    owners = await read_all(partial(tenants.page, connection)) if owner is None else [owner]
    return [(listed_owner, None) for listed_owner in owners]


async def _list_faulty_ids(connection: AsyncConnection, scope: QueueScope) -> dict[str, list[str]]:
    """List the ids of failing and stalled profiles by tenant, without reading the others."""
    ids, after = defaultdict[str, list[str]](list), None
    while True:
        rows = await page_profiles(
            connection, scope, now=SystemClock().now(), limit=PAGE_ROWS, after=after
        )
        for row in rows:
            if row.has_fault:
                ids[row.tenant_id].append(row.id)
        if not rows or not rows[-1].has_fault:
            return ids
        after = rows[-1].place


@app.command()
def show(profile: ProfileArgument, tenant: TenantOption, *, as_json: AsJson = False) -> None:
    """Show a profile with its EHLO name and state."""
    settings = load_settings()

    async def read(connection: AsyncConnection) -> ProfileRead:
        owner = await tenants.get(connection, tenant=tenant)
        return await read_profile(connection, settings, owner, profile)

    print_profile(transact(settings, read), as_json=as_json)


@app.command()
@add_options(options.ProfileOptions)
def update(
    profile: ProfileArgument,
    file: options.File = None,
    *,
    tenant: TenantOption,
    as_json: AsJson = False,
    **cli_options: Unpack[options.ProfileOptions],
) -> None:
    """Update a profile. Omitted fields stay; null in the file removes a value.

    Waiting messages use the updated profile. Heloise tries a failing profile again at once.
    """
    body = validate_body(ProfileUpdate, options.read_body(file, cli_options))
    settings = load_settings()
    vault = Vault(settings.load_encryption_keys())

    async def change(
        connection: AsyncConnection, audit_context: AuditContext, before: Profile
    ) -> None:
        with validation_errors():
            await profile_actions.update(
                connection, audit_context, before, body, vault=vault, guard=settings.build_guard()
            )

    print_profile(_apply_change(settings, tenant, profile, change), as_json=as_json)


@app.command()
def verify(
    profile: ProfileArgument,
    tenant: TenantOption,
    *,
    recipient: Annotated[
        str | None,
        typer.Option(
            help="A recipient for RCPT. Verify sends RSET afterwards, so nothing is delivered."
        ),
    ] = None,
    sender: Annotated[
        str | None, typer.Option(help="The sender for MAIL. Default: the profile's default_from.")
    ] = None,
    transcript: Annotated[
        bool, typer.Option("--transcript", help="Also print the SMTP dialogue, without secrets.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Test a profile on its server without sending, and say what to change.

    Exits with 1 if a stage fails.
    """
    # The other commands do not need DNS, SMTP and the engine, which double the start time.
    from app.api.profiles.verify_schemas import ProfileVerify
    from app.cli.verification import print_verify, verify_profile

    body = validate_options(ProfileVerify, {"recipient": recipient, "sender": sender})
    result = asyncio.run(verify_profile(load_settings(), tenant, profile, body))
    if as_json:
        print_json(result)
    else:
        print_verify(result, with_transcript=transcript)
    if not result.ok:
        raise typer.Exit(1)


@app.command()
def pause(profile: ProfileArgument, tenant: TenantOption, *, as_json: AsJson = False) -> None:
    """Stop sending through a profile. Its messages wait."""
    profile_read = _apply_change(load_settings(), tenant, profile, profile_actions.pause)
    print_profile(profile_read, as_json=as_json)


@app.command()
def resume(profile: ProfileArgument, tenant: TenantOption, *, as_json: AsJson = False) -> None:
    """Resume sending. Heloise tries a failing profile's server at once."""
    profile_read = _apply_change(load_settings(), tenant, profile, profile_actions.resume)
    print_profile(profile_read, as_json=as_json)


@app.command()
def delete(
    profile: ProfileArgument,
    tenant: TenantOption,
    *,
    cancel_pending: Annotated[
        bool,
        typer.Option("--cancel-pending", help="Cancel unfinished messages instead of refusing."),
    ] = False,
    yes: Yes = False,
) -> None:
    """Delete a profile and its credentials. Its messages stay readable."""
    confirm(f"Delete the profile {profile} and its credentials?", is_confirmed=yes)

    async def remove(connection: AsyncConnection) -> Profile:
        owner = await tenants.get(connection, tenant=tenant)
        stored_profile = await require_profile(
            connection, owner.id, profile, caller_key=None, for_update=True
        )
        await profile_actions.delete(
            connection, make_audit_context(), stored_profile, cancel_pending=cancel_pending
        )
        return stored_profile

    try:
        deleted_profile = transact(load_settings(), remove, announce=True)
    except Conflict as error:
        raise Conflict(
            error.slug,
            f"The profile {profile!r} has unfinished messages; add --cancel-pending to cancel"
            " them.",
        ) from None
    typer.echo(f"Deleted {deleted_profile.name}.")


def _apply_change(
    settings: Settings, tenant: str, profile: str, change: ProfileChange
) -> ProfileRead:
    """Change a profile, notify all delivering processes, and return the profile."""

    async def work(connection: AsyncConnection) -> ProfileRead:
        owner = await tenants.get(connection, tenant=tenant)
        stored_profile = await require_profile(
            connection, owner.id, profile, caller_key=None, for_update=True
        )
        await change(connection, make_audit_context(), stored_profile)
        return await read_profile(connection, settings, owner, stored_profile.id)

    return transact(settings, work, announce=True)
