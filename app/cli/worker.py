"""Define `heloise worker`."""

import asyncio
import signal
import sys
from contextlib import suppress

import typer
from uvicorn.loops.auto import auto_loop_factory

from app import telemetry
from app.cli.database import require_schema
from app.cli.environment import load_settings
from app.process import give_large_blocks_back, shorten_turns, spare_collector
from app.settings import Settings
from app.worker import run_worker

app = typer.Typer(add_completion=False)


@app.command()
def worker() -> None:
    """Deliver messages without the HTTP API.

    On PostgreSQL any number may run. SIGTERM stops it after what is being transmitted is done.
    """
    settings = load_settings()
    settings.encryption_keys()
    # Until it works there is nothing to finish: being told to stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    telemetry.configure(settings.log_level, settings.log_format, settings.log_addresses)
    give_large_blocks_back()
    shorten_turns()
    spare_collector()
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(_work(settings))


async def _work(settings: Settings) -> None:
    await require_schema(settings)
    delivery = asyncio.create_task(run_worker(settings))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, delivery.cancel)
    with suppress(asyncio.CancelledError):
        await delivery
