"""Define `heloise worker` and `heloise submission`, which run without HTTP until a signal."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from uvicorn.loops.auto import auto_loop_factory

from app import logs, tracing
from app.cli.database import open_current_database
from app.cli.input import load_settings
from app.domain.errors import SettingsError
from app.process import tune_gc, tune_malloc, tune_switch_interval
from app.settings.model import Settings
from app.store.db.url import sqlite_path

log = logging.getLogger("app.submission")


def worker() -> None:
    """Deliver messages without the HTTP API.

    On PostgreSQL any number may run. SIGTERM stops it after what is being transmitted is done.
    """
    from app.worker import run_worker

    settings = load_settings()
    settings.load_encryption_keys()
    _prepare_process(settings, "worker")
    _run_until_stopped(settings, partial(run_worker, settings))


def submission() -> None:
    """Accept messages over SMTP, without the HTTP API.

    Speaks RFC 6409; workers deliver the messages. Needs PostgreSQL, where any number may run. With
    SQLite, set HELOISE_SUBMISSION=true for `heloise serve` instead. SIGTERM stops it after the
    transactions that are running.
    """
    # The first import, and before `_prepare_process` freezes the garbage collector's objects.
    from app.main import run_submission
    from app.submission_server import open_listeners

    settings = load_settings()
    settings.load_encryption_keys()
    if sqlite_path(settings.database_url) is not None:
        raise SettingsError(
            "`heloise submission` needs PostgreSQL: with SQLite, only one process can write. Set"
            " HELOISE_DATABASE_URL to postgresql://…, or HELOISE_SUBMISSION=true for `heloise"
            " serve`."
        )
    _prepare_process(settings, "submission")
    with open_listeners(settings) as listeners:
        for listener in listeners:
            host, port = listener.socket.getsockname()[:2]
            log.info("SMTP submission on %s port %d", host, port)
        _run_until_stopped(settings, partial(run_submission, settings, listeners))


def _prepare_process(settings: Settings, command: str) -> None:
    # Before the work starts there is nothing to finish, so a stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logs.configure(settings.log_level, settings.log_format, settings.log_addresses)
    tracing.start(command)
    tune_malloc()
    tune_switch_interval()
    tune_gc()


def _run_until_stopped(settings: Settings, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(_run(settings, work))


async def _run(settings: Settings, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async with open_current_database(settings):
        pass
    task = asyncio.create_task(work())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
