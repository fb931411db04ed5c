"""Define `heloise worker`."""

from functools import partial

import typer

from app.cli.environment import load_settings
from app.cli.run_process import prepare_process, run_until_stopped
from app.worker import run_worker

app = typer.Typer(add_completion=False)


@app.command()
def worker() -> None:
    """Deliver messages without the HTTP API.

    On PostgreSQL any number may run. SIGTERM stops it after what is being transmitted is done.
    """
    settings = load_settings()
    settings.load_encryption_keys()
    prepare_process(settings, "worker")
    run_until_stopped(settings, partial(run_worker, settings))
