"""`heloise tenant`."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.tenants import TenantCreate, TenantUpdate, new_tenant
from app.cli.bodies import checked
from app.cli.environment import PAGE_ROWS, checked_settings, every, transact
from app.cli.printing import AsJson, print_fields, print_json, print_table
from app.domain.clock import SystemClock
from app.domain.types import Tenant
from app.store import tenants

app = typer.Typer(help="Create, list, show, update and delete tenants.", no_args_is_help=True)

COLUMNS = ("id", "slug", "name", "ehlo_name", "created_at", "updated_at")
Which = Annotated[str, typer.Argument(metavar="TENANT", help="Its slug or id.")]
Name = Annotated[str | None, typer.Option(help="A name for people.")]
EhloName = Annotated[
    str | None, typer.Option(help="The EHLO name of its profiles that set none themselves.")
]


@app.command()
def create(
    slug: Annotated[str, typer.Argument(help="A short name, unique, for the command line.")],
    name: Name = None,
    ehlo_name: EhloName = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Create a tenant."""
    body = checked(TenantCreate, {"slug": slug, "name": name or slug, "ehlo_name": ehlo_name})
    tenant = new_tenant(body, now=SystemClock().now())
    transact(checked_settings(), lambda connection: tenants.insert(connection, tenant=tenant))
    _print(tenant, as_json=as_json)


@app.command("list")
def list_all(*, as_json: AsJson = False) -> None:
    """List all tenants."""
    rows = transact(
        checked_settings(),
        lambda connection: every(
            lambda after: tenants.page(connection, limit=PAGE_ROWS, after=after)
        ),
    )
    if as_json:
        print_json(rows)
    else:
        print_table(COLUMNS, [[getattr(row, column) for column in COLUMNS] for row in rows])


@app.command()
def show(tenant: Which, *, as_json: AsJson = False) -> None:
    """Show a tenant."""
    found = transact(checked_settings(), lambda connection: tenants.get(connection, tenant=tenant))
    _print(found, as_json=as_json)


@app.command()
def update(
    tenant: Which,
    slug: Annotated[str | None, typer.Option(help="A new slug.")] = None,
    name: Name = None,
    ehlo_name: EhloName = None,
    *,
    no_ehlo_name: Annotated[
        bool, typer.Option("--no-ehlo-name", help="Take the tenant's EHLO name away.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Change a tenant; what is left out stays."""
    given = {"slug": slug, "name": name, "ehlo_name": ehlo_name}
    changes: dict[str, str | None] = {key: value for key, value in given.items() if value}
    if no_ehlo_name:
        changes["ehlo_name"] = None
    body = checked(TenantUpdate, changes)

    async def change(connection: AsyncConnection) -> Tenant:
        found = await tenants.get(connection, tenant=tenant)
        return await tenants.update(
            connection,
            tenant_id=found.id,
            changes=body.model_dump(exclude_unset=True),
            now=SystemClock().now(),
        )

    _print(transact(checked_settings(), change, announce=True), as_json=as_json)


@app.command()
def delete(tenant: Which) -> None:
    """Delete a tenant and all of its history; refused while it has profiles."""

    async def remove(connection: AsyncConnection) -> Tenant:
        found = await tenants.get(connection, tenant=tenant)
        await tenants.delete(connection, tenant_id=found.id)
        return found

    typer.echo(f"Deleted {transact(checked_settings(), remove).slug}.")


def _print(tenant: Tenant, *, as_json: bool) -> None:
    if as_json:
        print_json(tenant)
    else:
        print_fields((column, getattr(tenant, column)) for column in COLUMNS)
