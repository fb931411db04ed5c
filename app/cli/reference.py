"""Render the reference of all settings as Markdown and as `.env.example`."""

from textwrap import wrap

from app.settings import (
    Settings,
    describe_expectation,
    format_default,
    get_description,
    get_info,
    variable_name,
)

ENV_HEAD = """\
# Settings of Heloise. Copy this file to .env, and remove the `#` from the settings that you change.
# Environment variables override this file; this file overrides the secrets folder.
# `heloise settings --format env` prints this text.
"""
MARKDOWN_HEAD = """\
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
