"""Define `heloise secret-key`."""

import typer

from app.domain.secret_keys import generate_key

app = typer.Typer(add_completion=False)


@app.command()
def secret_key() -> None:
    """Print a new random key.

    Use it in HELOISE_SECRET_KEYS (put it first and keep the old ones after it) or in
    HELOISE_ADMIN_KEY.
    """
    typer.echo(generate_key())
