"""Define `heloise submission`."""

import logging
from collections.abc import Sequence
from functools import partial

import typer

from app.cli.environment import load_settings
from app.cli.run_process import prepare_process, run_until_stopped
from app.domain.errors import SettingsError
from app.main import run_submission
from app.settings import Settings
from app.store.db.url import sqlite_path
from app.submission.listener import Listener
from app.submission_server import open_listeners

app = typer.Typer(add_completion=False)

log = logging.getLogger("app.submission")


@app.command()
def submission() -> None:
    """Accept messages over SMTP, without the HTTP API.

    Speaks RFC 6409; workers deliver the messages. Needs PostgreSQL, where any number may run. With
    SQLite, set HELOISE_SUBMISSION=true for `heloise serve` instead. SIGTERM stops it after the
    transactions that are running.
    """
    settings = load_settings()
    settings.load_encryption_keys()
    if sqlite_path(settings.database_url) is not None:
        raise SettingsError(
            "`heloise submission` needs PostgreSQL: with SQLite, only one process can write. Set"
            " HELOISE_DATABASE_URL to postgresql://…, or HELOISE_SUBMISSION=true for `heloise"
            " serve`."
        )
    prepare_process(settings, "submission")
    with open_listeners(settings) as listeners:
        run_until_stopped(settings, partial(_serve, settings, listeners))


async def _serve(settings: Settings, listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        host, port = listener.socket.getsockname()[:2]
        log.info("SMTP submission on %s port %d", host, port)
    await run_submission(settings, listeners)
