"""Load settings for commands, and define common options."""

from typing import Annotated

import typer

from app.settings import Settings, load, unknown_variables

TenantOption = Annotated[str, typer.Option("--tenant", "-t", help="The tenant's slug or id.")]


def load_settings() -> Settings:
    """Load the settings, and warn about unknown HELOISE variables."""
    settings = load()
    for name, closest in unknown_variables():
        hint = f"; did you mean {closest}?" if closest else ""
        typer.echo(f"warning: {name} is not a setting of Heloise{hint}", err=True)
    return settings
