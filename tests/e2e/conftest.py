"""Fixtures of the end-to-end tests: the service on a real database, watched for secrets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from app.domain.clock import Clock
from tests.support.harness import Heloise, Process, Watched, assert_no_secret, serving, settings
from tests.support.processes.forked import Forker
from tests.support.servers.exim import exim, exim_server
from tests.support.servers.postfix import postfix, postfix_server
from tests.support.servers.smtp_server import SmtpServer

Start = Callable[..., Awaitable[Heloise]]

__all__ = ["exim", "exim_server", "postfix", "postfix_server"]


@pytest.fixture
async def watched(migrated_url: str, tmp_path: Path) -> AsyncIterator[Watched]:
    """What came out of the service; nothing of it may hold the canary (invariant 9)."""
    watched = Watched()
    yield watched
    logs = await asyncio.to_thread(lambda: list(tmp_path.glob("*.log")))
    await assert_no_secret(migrated_url, watched, *logs)


@pytest.fixture
async def start(migrated_url: str, watched: Watched) -> AsyncIterator[Start]:
    """Starts the service in this process, as often as a test wants; all are stopped at its end."""
    async with AsyncExitStack() as stack:

        async def start(
            *, clock: Clock | None = None, hostname: str | None = None, **fields: Any
        ) -> Heloise:
            values = settings(migrated_url, **fields)
            return await stack.enter_async_context(
                serving(values, watched, clock=clock, hostname=hostname)
            )

        yield start


@pytest.fixture
async def heloise(start: Start) -> Heloise:
    """The service, delivering."""
    return await start()


@pytest.fixture
async def launch(
    migrated_url: str,
    forking: Forker,
    watched: Watched,  # noqa: ARG001 - it reads the logs once the processes have ended
    tmp_path: Path,
) -> AsyncIterator[Any]:
    """Starts commands as processes of their own; what still runs at the test's end is killed."""
    started: list[Process] = []

    def launch(
        *words: str,
        port: int | None = None,
        module: str = "app.cli",
        machine: str | None = None,
        **fields: Any,
    ) -> Process:
        values = settings(migrated_url, **fields)
        named: dict[str, Any] = {"port": port, "module": module, "machine": machine}
        process = Process(tmp_path, values, *words, forker=forking, **named)
        started.append(process)
        return process

    yield launch
    for process in started:
        if process.process.poll() is None:
            process.kill()


@pytest.fixture
async def server() -> AsyncIterator[SmtpServer]:
    """A server that takes everything."""
    async with SmtpServer() as server:
        yield server
