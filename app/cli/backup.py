"""Define `heloise backup`."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.environment import load_settings
from app.cli.printing import AsJson, print_json
from app.cli.progress import progress_bar
from app.domain.clock import SystemClock
from app.domain.errors import SettingsError
from app.store.db.backup import copy_database
from app.store.db.url import sqlite_path

app = typer.Typer(add_completion=False)


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The file to create.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Copy the SQLite database to a new file, while Heloise runs.

    The copy contains every message that Heloise accepted before the command started. It does not
    contain HELOISE_SECRET_KEYS: keep them elsewhere. For PostgreSQL use pg_dump.
    """
    settings = load_settings()
    source = sqlite_path(settings.database_url)
    if source is None:
        raise SettingsError(
            "HELOISE_DATABASE_URL names PostgreSQL, and this command copies SQLite's file: use"
            " pg_dump"
        )
    if not source.exists():
        raise SettingsError(f"the database {source} does not exist; run heloise migrate")
    started_at = SystemClock().now()
    with progress_bar("Copying") as show:
        copy_database(source, target, show)
    size_bytes = target.stat().st_size
    if as_json:
        print_json({"path": target, "size_bytes": size_bytes, "started_at": started_at})
    else:
        typer.echo(
            f"Copied {source} to {target}: {size_bytes} bytes. The copy does not contain"
            " HELOISE_SECRET_KEYS; keep them elsewhere."
        )
