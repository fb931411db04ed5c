"""`heloise key`."""

from datetime import datetime, timedelta
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.keys import KeyCreate, new_key
from app.cli.bodies import checked
from app.cli.environment import PAGE_ROWS, OfTenant, checked_settings, every, transact
from app.cli.printing import AsJson, print_fields, print_json, print_table
from app.domain.clock import SystemClock
from app.domain.keys import hash_of, new_secret
from app.domain.types import ApiKey, Scope
from app.store import api_keys, tenants

app = typer.Typer(help="Create, list and revoke the API keys of a tenant.", no_args_is_help=True)

COLUMNS = ("id", "name", "hint", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at")


@app.command()
def create(
    tenant: OfTenant,
    name: Annotated[str, typer.Option(help="What it is for.")] = "command line",
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it may do; repeat it. All, if left out.")
    ] = None,
    expires_in_days: Annotated[
        int | None, typer.Option(min=1, max=36500, help="Never, if left out.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Create a key. It is shown this once: only its hash is kept."""
    now = SystemClock().now()
    expires_at = now + timedelta(days=expires_in_days) if expires_in_days else None
    scopes = sorted(set(scope or Scope))
    body = checked(
        KeyCreate,
        {
            "name": name,
            "scopes": scopes,
            "expires_at": expires_at.isoformat() if expires_at else None,
        },
    )
    secret = new_secret()
    key = transact(
        checked_settings(),
        lambda connection: _insert(connection, tenant=tenant, body=body, secret=secret, now=now),
    )
    shown = {**_row(key), "key": secret}
    if as_json:
        print_json(shown)
    else:
        print_fields(shown.items())
        typer.echo("Keep the key now: it is not shown again.", err=True)


async def _insert(
    connection: AsyncConnection, *, tenant: str, body: KeyCreate, secret: str, now: datetime
) -> ApiKey:
    owner = await tenants.get(connection, tenant=tenant)
    key = new_key(body, tenant_id=owner.id, secret=secret, now=now)
    await api_keys.insert(connection, key=key, hash=hash_of(secret))
    return key


@app.command("list")
def list_all(tenant: OfTenant, *, as_json: AsJson = False) -> None:
    """List the keys of a tenant, without the keys themselves."""

    async def rows(connection: AsyncConnection) -> list[ApiKey]:
        owner = await tenants.get(connection, tenant=tenant)
        return await every(
            lambda after: api_keys.page(
                connection, tenant_id=owner.id, limit=PAGE_ROWS, after=after
            )
        )

    found = [_row(key) for key in transact(checked_settings(), rows)]
    if as_json:
        print_json(found)
    else:
        print_table(COLUMNS, [row.values() for row in found])


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id, key_….")], tenant: OfTenant
) -> None:
    """Revoke a key: within seconds no process takes it any more."""

    async def change(connection: AsyncConnection) -> None:
        owner = await tenants.get(connection, tenant=tenant)
        await api_keys.revoke(connection, tenant_id=owner.id, key_id=key, now=SystemClock().now())

    transact(checked_settings(), change)
    typer.echo(f"Revoked {key}.")


def _row(key: ApiKey) -> dict[str, object]:
    row = {column: getattr(key, column) for column in COLUMNS}
    return row | {"scopes": sorted(key.scopes)}
