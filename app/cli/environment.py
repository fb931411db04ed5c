"""Load settings for commands, and define common options."""

from typing import Annotated

import typer

from app.settings import Settings, find_unknown_variables, read_settings

TenantOption = Annotated[str, typer.Option("--tenant", "-t", help="The tenant's slug or id.")]
AnyTenantOption = Annotated[
    str | None,
    typer.Option("--tenant", "-t", help="The tenant's slug or id. Default: all tenants."),
]


def load_settings() -> Settings:
    """Load the settings, and warn about unknown HELOISE variables."""
    settings = read_settings()
    for name, closest in find_unknown_variables():
        hint = f"; did you mean {closest}?" if closest else ""
        typer.echo(f"warning: {name} is not a setting of Heloise{hint}", err=True)
    return settings
