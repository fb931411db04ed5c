"""A server that falls silent in the middle of sessions holds up no more than it must."""

import asyncio
from typing import Any

import pytest

from app.delivery import lane
from tests.e2e.conftest import Start
from tests.support.harness import Tenant
from tests.support.servers.smtp_server import SmtpServer


@pytest.fixture(autouse=True)
def silence_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts as silence is shorter than any time-out of the profile."""
    monkeypatch.setattr(lane, "SILENT_SECONDS", 0.2)


async def events(acme: Tenant) -> list[Any]:
    """What was told of the profile."""
    items: list[Any] = (await acme.read("/events?type=profile.*"))["items"]
    return items


async def test_while_all_connections_are_silent_one_more_is_tried(start: Start) -> None:
    """Mail goes by it; the profile is `stalled`, and says so, until it answers (invariant 7)."""
    async with SmtpServer() as server:
        gate = server.gates["dot"] = asyncio.Event()
        acme = await (await start()).tenant()
        await acme.profile("main", server.port, max_connections=2)
        held = [await acme.send() for _ in range(2)]
        await server.wait_for_messages(2)
        del server.gates["dot"]  # new connections are answered, those two are not
        stalled = await acme.state("main", "stalled")
        assert stalled["stalled_since"] is not None
        assert "silent" in stalled["reason"]
        later = [await acme.send() for _ in range(5)]
        await acme.all_sent(later)
        assert server.most_open_connections == 3
        gate.set()
        await acme.all_sent(held)
        await acme.send()
        active = await acme.state("main", "active")
        assert active["stalled_since"] is active["reason"] is None
        profile_events = await events(acme)
        assert [event["type"] for event in profile_events] == [
            "profile.stalled",
            "profile.recovered",
        ]
        assert profile_events[0]["data"]["code"] == "server_silent"
        assert "2 connections" in profile_events[0]["data"]["reason"]
    assert len(server.messages) == len(held) + len(later) + 1


async def test_a_silent_server_that_takes_no_connection_either_is_failing(start: Start) -> None:
    """The one more finds it out, long before those that are silent end."""
    async with SmtpServer() as server:
        server.gates["dot"] = asyncio.Event()
        acme = await (await start()).tenant()
        await acme.profile("main", server.port, max_connections=1)
        await acme.send()
        await server.wait_for_messages(1)
        server.script["banner"] = "421 4.3.2 Too busy"
        await acme.send()
        failing = await acme.state("main", "failing")
        assert failing["failing_code"] == "service_unavailable"
        assert failing["stalled_since"] is None
        kinds = [event["type"] for event in await events(acme)]
        assert kinds == ["profile.stalled", "profile.failing"]
