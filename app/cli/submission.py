"""Define `heloise submission`."""

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

import typer
from uvicorn.loops.auto import auto_loop_factory

from app import telemetry
from app.cli.database import require_schema
from app.cli.environment import load_settings
from app.domain.errors import SettingsError
from app.main import run_submission
from app.process import give_large_blocks_back, shorten_turns, spare_collector
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
    messages that are being stored.
    """
    settings = load_settings()
    settings.encryption_keys()
    if sqlite_path(settings.database_url) is not None:
        raise SettingsError(
            "`heloise submission` needs PostgreSQL: with SQLite, only one process can write. Set"
            " HELOISE_DATABASE_URL to postgresql://…, or HELOISE_SUBMISSION=true for `heloise"
            " serve`."
        )
    # Until it works there is nothing to finish: being told to stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    telemetry.configure(settings.log_level, settings.log_format, settings.log_addresses)
    give_large_blocks_back()
    shorten_turns()
    spare_collector()
    with (
        open_listeners(settings) as listeners,
        asyncio.Runner(loop_factory=auto_loop_factory()) as runner,
    ):
        runner.run(_serve(settings, listeners))


async def _serve(settings: Settings, listeners: Sequence[Listener]) -> None:
    await require_schema(settings)
    server = asyncio.create_task(run_submission(settings, listeners))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.cancel)
    for listener in listeners:
        host, port = listener.socket.getsockname()[:2]
        log.info("SMTP submission on %s port %d", host, port)
    with suppress(asyncio.CancelledError):
        await server
