"""Beside an old transaction, polls and claims that read few due times still find all messages."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.delivery import due_ranges
from tests.e2e.conftest import Start
from tests.support.servers.smtp_server import SmtpServer

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.parametrize("backend", ["postgresql"], indirect=True),
]


async def test_without_full_rounds_what_comes_is_delivered(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages of each priority, a scheduled one, a retry, and those of a new profile."""
    monkeypatch.setattr(due_ranges, "SLOW_SECONDS", -math.inf)
    monkeypatch.setattr(due_ranges, "MAX_PAUSE_SECONDS", math.inf)
    monkeypatch.setattr(due_ranges, "PAUSE_FACTOR", 1e9)
    monkeypatch.setattr(due_ranges, "FREED_PAUSE_FACTOR", 1e9)
    await start()  # the worker: nothing is handed over from the process that accepts
    acme = await (await start(delivery=False)).tenant()
    async with SmtpServer({"rcpt": ["451 4.3.0 Later"]}) as server:
        retry = {"first_seconds": 1, "cap_seconds": 1}
        await acme.profile("main", server.port, retry=retry)
        await acme.all_sent([await acme.send()])
        priorities = ("high", "normal", "low")
        message_ids = [await acme.send(priority=priority) for priority in priorities]
        send_at = datetime.now(UTC) + timedelta(seconds=2)
        message_ids.append(await acme.send(send_at=send_at.isoformat()))
        await acme.profile("second", server.port)
        message_ids.append(await acme.send(profile="second"))
        await acme.all_sent(message_ids)
