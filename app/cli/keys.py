"""Define `heloise key`."""

from datetime import timedelta
from functools import partial
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.api_keys import service as key_actions
from app.api.api_keys.schemas import MAX_OVERLAP_SECONDS, KeyCreate, KeyRotate
from app.cli.database import make_audit_context, read_all, transact
from app.cli.input import TenantOption, load_settings, validate_body, validation_errors
from app.cli.terminal import AsJson, Yes, confirm, print_fields, print_json, print_table
from app.domain.types import ApiKey, Scope
from app.store import api_keys
from app.store.tenants import queries as tenants

app = typer.Typer()

COLUMNS = (
    "id",
    "name",
    "hint",
    "scopes",
    "profiles",
    "allowed_from",
    "networks",
    "created_at",
    "expires_at",
    "revoked_at",
    "last_used_at",
)
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, key_….")]


Profiles = Annotated[
    list[str] | None,
    typer.Option("--profile", help="A profile that the key may use; repeatable. Default: all."),
]
AllowedFrom = Annotated[
    list[str] | None,
    typer.Option(help="An allowed sender, such as *@example.com; repeatable. Default: any."),
]
Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--network",
        help="A network that may use the key, such as 192.0.2.0/24; repeatable. Default: any.",
    ),
]


@app.command()
def create(
    tenant: TenantOption,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "command line",
    scope: Annotated[
        list[Scope] | None, typer.Option(help="A scope; repeatable. Default: all.")
    ] = None,
    profiles: Profiles = None,
    allowed_from: AllowedFrom = None,
    networks: Networks = None,
    expires_in_days: Annotated[
        int | None,
        typer.Option(min=1, max=36500, help="Days until the key expires. Default: never."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Create a key. Heloise shows it only this once."""
    audit_context = make_audit_context()
    expires_at = audit_context.now + timedelta(days=expires_in_days) if expires_in_days else None
    body = validate_body(
        KeyCreate,
        {
            "name": name,
            "scopes": sorted(set(scope or Scope)),
            "profiles": profiles or [],
            "allowed_from": allowed_from or [],
            "networks": networks or [],
            "expires_at": expires_at.isoformat() if expires_at else None,
        },
    )

    owner = key_actions.KeyOwner(tenant, audit_context)

    async def create_key(connection: AsyncConnection) -> key_actions.CreatedKey:
        with validation_errors():
            return await key_actions.create(connection, owner, body)

    _print_created(transact(load_settings(), create_key), as_json=as_json)


@app.command()
def rotate(
    key: KeyArgument,
    tenant: TenantOption,
    overlap_seconds: Annotated[
        int,
        typer.Option(min=0, max=MAX_OVERLAP_SECONDS, help="How long the old key keeps working."),
    ] = 86_400,
    *,
    as_json: AsJson = False,
) -> None:
    """Create a key with the same rights. The old one works for a day, or as long as you say."""
    body = validate_body(KeyRotate, {"overlap_seconds": overlap_seconds})
    owner = key_actions.KeyOwner(tenant, make_audit_context())
    created_key = transact(
        load_settings(), lambda connection: key_actions.rotate(connection, owner, key, body)
    )
    _print_created(created_key, as_json=as_json)


def _print_created(created_key: key_actions.CreatedKey, *, as_json: bool) -> None:
    key, secret = created_key
    fields = {**_row(key), "key": secret}
    if as_json:
        print_json(fields)
    else:
        print_fields(fields.items())
        typer.echo("Store the key now: Heloise does not show it again.", err=True)


@app.command("list")
def list_all(tenant: TenantOption, *, as_json: AsJson = False) -> None:
    """List the keys of a tenant, without the keys themselves."""

    async def rows(connection: AsyncConnection) -> list[ApiKey]:
        owner = await tenants.get(connection, tenant=tenant)
        return await read_all(partial(api_keys.page, connection, tenant_id=owner.id))

    key_rows = [_row(key) for key in transact(load_settings(), rows)]
    if as_json:
        print_json(key_rows)
    else:
        print_table(COLUMNS, [row.values() for row in key_rows])


@app.command()
def revoke(key: KeyArgument, tenant: TenantOption, *, yes: Yes = False) -> None:
    """Revoke a key. All processes refuse it within seconds."""
    confirm(f"Revoke {key}?", is_confirmed=yes)
    owner = key_actions.KeyOwner(tenant, make_audit_context())
    transact(load_settings(), lambda connection: key_actions.revoke(connection, owner, key))
    typer.echo(f"Revoked {key}.")


def _row(key: ApiKey) -> dict[str, object]:
    row = {column: getattr(key, column) for column in COLUMNS}
    return row | {"scopes": sorted(key.scopes)}
