"""The task that listens goes on after every error: no session means no delivery."""

import asyncio
from typing import Any

import pytest

from app.domain.errors import SettingsError
from app.store.db import listener
from app.store.db.listener import Listener, SessionWatch


class FailingWatch(SessionWatch):
    """Fails after each session, until a test has seen enough."""

    def __init__(self) -> None:
        self.ended_count = 0
        self.has_seen_enough = asyncio.Event()

    async def end(self) -> None:
        self.ended_count += 1
        if self.ended_count == 2:
            self.has_seen_enough.set()
        raise SettingsError("the encoding")


async def test_an_error_after_a_session_does_not_end_the_listener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It connects again, whatever failed."""
    monkeypatch.setattr(listener, "RETRY_SECONDS", 0)

    async def is_pooled() -> bool:
        return False

    async def connect(**_: Any) -> Any:
        raise OSError("away")

    watch = FailingWatch()
    task = asyncio.create_task(Listener(connect, is_pooled, wake=lambda: None, watch=watch).run())
    async with asyncio.timeout(60):
        await watch.has_seen_enough.wait()
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
