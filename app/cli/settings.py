"""Define `heloise settings`."""

from enum import StrEnum
from textwrap import wrap
from typing import Annotated, Final

import typer

from app.cli.input import load_settings
from app.cli.terminal import print_json, print_table
from app.settings.model import (
    Settings,
    describe_expectation,
    get_description,
    get_info,
    variable_name,
)
from app.settings.reading import format_default, list_settings

ENV_HEAD: Final = """\
# Settings of Heloise. Copy this file to .env, and remove the `#` from the settings that you change.
# Environment variables override this file; this file overrides the secrets folder.
# `heloise settings --format env` prints this text.
"""
MARKDOWN_HEAD: Final = """\
# Settings

Heloise reads each setting from the environment, then from the file `.env` in the working directory,
then from a file in the secrets folder (`HELOISE_SECRETS_DIR`) with the setting's name, in upper or
lower case. It ignores empty values in the environment and in `.env`. `heloise settings` prints the
current values and their sources. Heloise warns about variables that begin with `HELOISE_` and are
not settings.

`heloise settings --format markdown` prints this page.

| Setting | Description | Value | Default |
|---|---|---|---|
"""


class OutputFormat(StrEnum):
    """An output format."""

    TABLE = "table"
    JSON = "json"
    ENV = "env"
    MARKDOWN = "markdown"


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


def render_env_file() -> str:
    """Render `.env.example`: every setting with its default, commented out."""
    return ENV_HEAD + "".join(_env_entry(field) for field in Settings.model_fields)


def _env_entry(field: str) -> str:
    text = f"{get_description(field)} Value: {_with_unit(field)}."
    lines = [f"# {line}" for line in wrap(text, 97, break_on_hyphens=False)]
    return "\n".join(["", *lines, f"#{variable_name(field)}={format_default(field)}", ""])


def render_markdown() -> str:
    """Render `docs/reference/settings.md`."""
    return MARKDOWN_HEAD + "".join(_row(field) for field in Settings.model_fields)


def _row(field: str) -> str:
    default = f"`{format_default(field)}`" if format_default(field) else "not set"
    cells = (f"`{variable_name(field)}`", get_description(field), _with_unit(field), default)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"


def _with_unit(field: str) -> str:
    unit = get_info(field).unit
    return f"{describe_expectation(field)} ({unit})" if unit else describe_expectation(field)
