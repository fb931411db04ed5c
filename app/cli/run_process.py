"""Run a process that serves no HTTP until SIGTERM or SIGINT."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from uvicorn.loops.auto import auto_loop_factory

from app import logs, tracing
from app.cli.database import require_schema
from app.process import tune_gc, tune_malloc, tune_switch_interval
from app.settings import Settings


def prepare_process(settings: Settings, command: str) -> None:
    """Set up signals, logs, traces and the interpreter. Raises SettingsError."""
    # Before the work starts there is nothing to finish, so a stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logs.configure(settings.log_level, settings.log_format, settings.log_addresses)
    tracing.start(command)
    tune_malloc()
    tune_switch_interval()
    tune_gc()


def run_until_stopped(settings: Settings, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` until SIGTERM or SIGINT cancels it; raises SettingsError for an old schema."""
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(_run(settings, work))


async def _run(settings: Settings, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await require_schema(settings)
    task = asyncio.create_task(work())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
