"""Define `heloise settings`."""

from enum import StrEnum
from typing import Annotated

import typer

from app.cli.environment import load_settings
from app.cli.printing import print_json, print_table
from app.cli.reference import render_env_file, render_markdown
from app.settings import Settings, get_description, get_info, list_settings, variable_name

app = typer.Typer(add_completion=False)


class OutputFormat(StrEnum):
    """An output format."""

    TABLE = "table"
    JSON = "json"
    ENV = "env"
    MARKDOWN = "markdown"


@app.command()
def settings(
    shape: Annotated[
        OutputFormat,
        typer.Option("--format", help="`env` and `markdown` print the reference with defaults."),
    ] = OutputFormat.TABLE,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Print every setting with its value and source.

    Secrets are masked.
    """
    if shape is OutputFormat.ENV:
        typer.echo(render_env_file(), nl=False)
    elif shape is OutputFormat.MARKDOWN:
        typer.echo(render_markdown(), nl=False)
    else:
        _print_values(load_settings(), as_json=as_json or shape is OutputFormat.JSON)


def _print_values(loaded: Settings, *, as_json: bool) -> None:
    fields = {variable_name(field): field for field in Settings.model_fields}
    entries = [
        {
            "name": setting.name,
            "value": setting.value or None,
            "source": setting.source,
            "unit": get_info(fields[setting.name]).unit or None,
            "description": get_description(fields[setting.name]),
        }
        for setting in list_settings(loaded)
    ]
    if as_json:
        print_json(entries)
        return
    print_table(
        ("setting", "value", "unit", "from", "description"),
        [(e["name"], e["value"], e["unit"] or "", e["source"], e["description"]) for e in entries],
    )
