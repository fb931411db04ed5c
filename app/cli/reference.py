"""The reference of all settings, as text that stands in the repository: a test compares it."""

from textwrap import wrap

from app.settings import Settings, about, default_text, description, expectation, variable

ENV_HEAD = """\
# Settings of Heloise. Copy this file to .env, and take the `#` away where a value is yours.
# What the environment says is stronger than this file, this file than the secrets folder.
# This text is made by `heloise settings --format env`.
"""
MARKDOWN_HEAD = """\
# Settings

Each setting is looked for in the environment, then in the file `.env` of the working directory,
then as a file in the secrets folder (`HELOISE_SECRETS_DIR`) that is named as the setting, in upper
or lower case. An empty value in the first two counts as not given. `heloise settings` prints what
holds and where it came from. A variable that begins with `HELOISE_` and is not in this list is
warned about.

This page is made by `heloise settings --format markdown`.

| setting | what it does | should be | default |
|---|---|---|---|
"""


def as_env_file() -> str:
    """The text of `.env.example`: every setting, with its default, switched off."""
    return ENV_HEAD + "".join(_env_entry(field) for field in Settings.model_fields)


def _env_entry(field: str) -> str:
    text = f"{description(field)} It should be {_with_unit(field)}."
    lines = [f"# {line}" for line in wrap(text, 97, break_on_hyphens=False)]
    return "\n".join(["", *lines, f"#{variable(field)}={default_text(field)}", ""])


def as_markdown() -> str:
    """The text of `docs/settings.md`."""
    return MARKDOWN_HEAD + "".join(_row(field) for field in Settings.model_fields)


def _row(field: str) -> str:
    default = f"`{default_text(field)}`" if default_text(field) else "not set"
    cells = (f"`{variable(field)}`", description(field), _with_unit(field), default)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"


def _with_unit(field: str) -> str:
    unit = about(field).unit
    return f"{expectation(field)} ({unit})" if unit else expectation(field)
