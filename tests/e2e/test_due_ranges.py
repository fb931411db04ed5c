"""Beside an old transaction, polls and claims that read few due times still find all messages."""

import asyncio
import math
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.delivery import due_ranges
from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.servers.smtp_server import SmtpServer

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.parametrize("backend", ["postgresql"], indirect=True),
]


@pytest.fixture(autouse=True)
def _ranges_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No round is full but the first two."""
    monkeypatch.setattr(due_ranges, "SLOW_SECONDS", -math.inf)
    monkeypatch.setattr(due_ranges, "MAX_PAUSE_SECONDS", math.inf)
    for factor in ("PAUSE_FACTOR", "FREED_PAUSE_FACTOR"):
        monkeypatch.setattr(due_ranges, factor, 1e9)


async def test_without_full_rounds_what_comes_is_delivered(start: Start) -> None:
    """Messages of each priority, a scheduled one, a retry, and those of a new profile."""
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


async def test_what_a_fault_has_released_is_found(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is due at its former place, behind the last look; the probe reads the whole queue."""
    monkeypatch.setattr(due_ranges, "FREED_PAUSE_FACTOR", 0)
    clock = HandClock()
    await start(clock=clock)
    acme = await (await start(clock=clock, delivery=False)).tenant()
    async with SmtpServer({"ehlo": [None, "550 no"]}) as server:
        one_at_a_time = {"max_connections": 1, "max_messages_per_connection": 1}
        await acme.profile("main", server.port, **one_at_a_time)
        await acme.all_sent([await acme.send()])
        gate = server.gates["ehlo"] = asyncio.Event()
        message_ids = [await acme.send() for _ in range(2)]
        for message_id in message_ids:
            await acme.message(message_id, status="sending")
        await clock.advance(seconds=10)  # the worker looks at the queue meanwhile
        gate.set()
        await acme.state("main", "failing")
        await acme("POST", "/profiles/main/resume")
        await acme.all_sent(message_ids)
