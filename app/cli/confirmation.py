"""Ask before what cannot be undone."""

import sys
from typing import Annotated

import typer

from app.domain.errors import SettingsError

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def confirm(question: str, *, is_confirmed: bool) -> None:
    """Ask for confirmation, unless `--yes` gave it; a no ends the command with exit code 1.

    Raises SettingsError if there is no terminal to ask at.
    """
    if is_confirmed:
        return
    if not sys.stdin.isatty():
        raise SettingsError(f"{question} This cannot be undone: add --yes to confirm")
    typer.confirm(f"{question} This cannot be undone.", abort=True, err=True)
