"""Invariant 7: limits wait; they never fail a message."""

from tests.e2e.conftest import Start
from tests.fixtures.hand_clock import HandClock
from tests.fixtures.smtp_server import SmtpServer


async def test_a_rate_limit_holds_messages_back_until_their_time(
    start: Start, server: SmtpServer
) -> None:
    """As many as it allows go at once, the others as it refills; no attempt is used for waiting."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port, rate_limit={"messages": 3, "per_seconds": 60})
    messages = [await acme.send() for _ in range(5)]
    await server.wait_for_messages(3)
    for message in messages[:3]:
        await acme.message(message, status="sent")
    await clock.advance(seconds=19)
    await acme.send(profile="main")
    assert len(server.messages) == 3
    await clock.advance(seconds=1)
    await server.wait_for_messages(4)
    await clock.advance(seconds=40)
    await server.wait_for_messages(6)
    done = await acme.message(messages[4], status="sent")
    assert done["recipients"][0]["attempts"] == 1


async def test_a_profile_never_has_more_connections_than_it_may(start: Start) -> None:
    """However much waits."""
    async with SmtpServer() as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port, max_connections=2)
        messages = [await acme.send() for _ in range(30)]
        for message in messages:
            await acme.message(message, status="sent")
        assert server.most_open_connections <= 2


async def test_a_connection_carries_so_many_messages_and_no_more(
    start: Start, server: SmtpServer
) -> None:
    """Then it says QUIT, and the next one is opened."""
    acme = await (await start()).tenant()
    await acme.profile("main", server.port, max_connections=1, max_messages_per_connection=2)
    for _ in range(5):
        await acme.message(await acme.send(), status="sent")
    assert [len(seen.messages) for seen in server.sessions] == [2, 2, 1]
    await server.wait_until(lambda seen: seen.sessions[1].commands[-1] == "QUIT")
