"""`heloise secret-key`."""

import typer

from app.store import vault

app = typer.Typer()


@app.command()
def secret_key() -> None:
    """Print a new random key.

    It is fit for HELOISE_SECRET_KEYS (put it first, and keep the old ones behind it) and for
    HELOISE_ADMIN_KEY.
    """
    typer.echo(vault.new_key())
