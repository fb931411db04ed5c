"""Define `heloise tenant`."""

from functools import partial
from typing import Annotated, TypedDict, Unpack

import typer

from app.api.tenants import service as tenant_actions
from app.api.tenants.schemas import TenantCreate, TenantUpdate
from app.cli.database import make_audit_context, read_all, transact
from app.cli.input import add_options, load_settings, validate_body
from app.cli.terminal import AsJson, Yes, confirm, print_fields, print_json, print_table
from app.domain.types import Tenant
from app.store.tenants import queries as tenants

app = typer.Typer()

COLUMNS = (
    "id",
    "slug",
    "name",
    "ehlo_name",
    "quota",
    "allowed_from",
    "retention",
    "redirect_all_to",
    "allowed_recipient_domains",
    "notify",
    "created_at",
    "updated_at",
)
TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's slug or id.")]


class TenantOptions(TypedDict):
    """The options of a tenant, in the order of the help."""

    name: Annotated[str | None, typer.Option(help="A display name.")]
    ehlo_name: Annotated[str | None, typer.Option(help="The EHLO name of profiles that set none.")]
    quota: Annotated[
        list[str] | None,
        typer.Option(help="A limit, such as messages_per_day=1000; repeatable."),
    ]
    allowed_from: Annotated[
        list[str] | None,
        typer.Option(help="An allowed sender, such as *@example.com; repeatable. Default: any."),
    ]
    retention: Annotated[
        list[str] | None,
        typer.Option(help="A retention period, such as content_days=7; repeatable."),
    ]
    redirect_all_to: Annotated[
        str | None, typer.Option(help="For tests: the address that receives all messages.")
    ]
    allowed_recipient_domains: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-recipient-domain",
            help="An allowed recipient domain, such as example.com; repeatable. Default: any.",
        ),
    ]
    suppresses_hard_bounces: Annotated[
        bool | None,
        typer.Option(
            "--suppress-hard-bounces/--no-suppress-hard-bounces",
            help="Suppress recipients that a server does not know.",
        ),
    ]


@app.command()
@add_options(TenantOptions)
def create(
    slug: Annotated[str, typer.Argument(help="A unique short name.")],
    *,
    as_json: AsJson = False,
    **cli_options: Unpack[TenantOptions],
) -> None:
    """Create a tenant."""
    body = validate_body(TenantCreate, {"slug": slug, "name": slug, **_read_fields(cli_options)})
    tenant = transact(
        load_settings(),
        lambda connection: tenant_actions.create(connection, make_audit_context(), body),
    )
    _print(tenant, as_json=as_json)


@app.command("list")
def list_all(*, as_json: AsJson = False) -> None:
    """List all tenants."""
    rows = transact(load_settings(), lambda connection: read_all(partial(tenants.page, connection)))
    if as_json:
        print_json(rows)
    else:
        print_table(COLUMNS, [_row(row).values() for row in rows])


@app.command()
def show(tenant: TenantArgument, *, as_json: AsJson = False) -> None:
    """Show a tenant."""
    stored_tenant = transact(
        load_settings(), lambda connection: tenants.get(connection, tenant=tenant)
    )
    _print(stored_tenant, as_json=as_json)


@app.command()
@add_options(TenantOptions)
def update(
    tenant: TenantArgument,
    *,
    slug: Annotated[str | None, typer.Option(help="A new slug.")] = None,
    notify_profile: Annotated[
        str | None,
        typer.Option(help="The profile that sends mail when another one fails and recovers."),
    ] = None,
    notify_to: Annotated[
        list[str] | None, typer.Option(help="An address that gets this mail; repeatable.")
    ] = None,
    no_notify: Annotated[
        bool, typer.Option("--no-notify", help="Send no mail when a profile fails.")
    ] = False,
    no_ehlo_name: Annotated[
        bool, typer.Option("--no-ehlo-name", help="Remove the tenant's EHLO name.")
    ] = False,
    no_quota: Annotated[bool, typer.Option("--no-quota", help="Remove all limits.")] = False,
    no_allowed_from: Annotated[
        bool, typer.Option("--no-allowed-from", help="Allow any sender.")
    ] = False,
    no_retention: Annotated[
        bool, typer.Option("--no-retention", help="Use the service's retention periods.")
    ] = False,
    no_redirect: Annotated[bool, typer.Option("--no-redirect", help="Stop redirecting.")] = False,
    no_allowed_recipient_domains: Annotated[
        bool, typer.Option("--no-allowed-recipient-domains", help="Allow any recipient domain.")
    ] = False,
    as_json: AsJson = False,
    **cli_options: Unpack[TenantOptions],
) -> None:
    """Update a tenant. Omitted options stay; --quota and --retention replace all their values."""
    changes = _read_fields(cli_options)
    if slug:
        changes["slug"] = slug
    notify = {"profile": notify_profile, "to": notify_to}
    if notify := {name: value for name, value in notify.items() if value}:
        changes["notify"] = notify
    cleared: dict[str, tuple[bool, object]] = {
        "ehlo_name": (no_ehlo_name, None),
        "quota": (no_quota, {}),
        "allowed_from": (no_allowed_from, []),
        "retention": (no_retention, {}),
        "redirect_all_to": (no_redirect, None),
        "allowed_recipient_domains": (no_allowed_recipient_domains, []),
        "notify": (no_notify, None),
    }
    changes |= {name: nothing for name, (is_cleared, nothing) in cleared.items() if is_cleared}
    body = validate_body(TenantUpdate, changes)

    changed = transact(
        load_settings(),
        lambda connection: tenant_actions.update(connection, make_audit_context(), tenant, body),
        announce=True,
    )
    _print(changed, as_json=as_json)


@app.command()
def delete(tenant: TenantArgument, *, yes: Yes = False) -> None:
    """Delete a tenant and its history. Refused while it has profiles."""
    confirm(f"Delete the tenant {tenant} and its history?", is_confirmed=yes)
    deleted_tenant = transact(
        load_settings(),
        lambda connection: tenant_actions.delete(connection, make_audit_context(), tenant),
    )
    typer.echo(f"Deleted {deleted_tenant.slug}.")


def _read_fields(cli_options: TenantOptions) -> dict[str, object]:
    """Return the fields of the options that are set."""
    fields = {
        **cli_options,
        "quota": _parse_limits(cli_options["quota"] or []),
        "retention": _parse_limits(cli_options["retention"] or []),
    }
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def _parse_limits(options: list[str]) -> dict[str, object]:
    """Parse limits into a body; its validation reports values that are not numbers."""
    pairs = (option.partition("=") for option in options)
    return {name: int(value) if value.isdecimal() else value for name, _, value in pairs}


def _print(tenant: Tenant, *, as_json: bool) -> None:
    if as_json:
        print_json(tenant)
    else:
        print_fields(_row(tenant).items())


def _row(tenant: Tenant) -> dict[str, object]:
    row = {column: getattr(tenant, column) for column in COLUMNS}
    return row | {
        "quota": tenant.quota.as_dict() or None,
        "retention": tenant.retention.as_dict() or None,
    }
