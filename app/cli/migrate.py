"""Define `heloise migrate`."""

import asyncio

import typer

from app.cli.database import open_database
from app.cli.environment import load_settings
from app.cli.progress import ShowProgress, progress_bar
from app.settings import Settings
from app.store.migrations import migrate as migrating

app = typer.Typer(add_completion=False)


@app.command()
def migrate() -> None:
    """Create or upgrade the database schema.

    Several processes may run this at once. It does nothing if the schema is current.
    """
    settings = load_settings()
    with progress_bar("Migrating") as show:
        head = asyncio.run(_migrate(settings, show))
    typer.echo(f"The schema is at {head}.")


async def _migrate(settings: Settings, show: ShowProgress) -> str:
    async with open_database(settings) as database:
        return await migrating.migrate(database, show)
