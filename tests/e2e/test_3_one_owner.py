"""Invariant 3: a message is worked on by at most one worker, by lease."""

from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.support.harness import Process, until
from tests.support.servers.smtp_server import SILENCE, SmtpServer


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_two_workers_share_a_queue_and_send_nothing_twice(
    start: Start, launch: Any, server: SmtpServer
) -> None:
    """On PostgreSQL any number of workers delivers from one database."""
    acme = await (await start(delivery=False)).tenant()
    for name in ("one", "two", "three"):
        await acme.profile(name, server.port, max_connections=1)
    ids = [await acme.send(profile=name) for _ in range(20) for name in ("one", "two", "three")]
    for _ in range(2):
        launch("worker")
    await acme.all_sent(ids)
    workers = [await acme.attempts(message_id) for message_id in ids]
    assert all(len(attempts) == 1 for attempts in workers)
    assert len(server.messages) == len({received.data for received in server.messages}) == len(ids)


async def test_the_messages_of_a_worker_that_died_are_taken_over(start: Start, launch: Any) -> None:
    """At once on SQLite, whose one worker knows that the other is dead; else when the lease ends.

    The record says that nobody knows what the dead one had sent. What may go once at the most and
    was killed after the final dot is uncertain: the server never sees it twice (invariant 5).
    """
    async with SmtpServer({"mail": [SILENCE]}) as early, SmtpServer({"dot": [SILENCE]}) as late:
        acme = await (await start(delivery=False)).tenant()
        await acme.profile("early", early.port)
        await acme.profile("late", late.port, max_connections=1)
        message = await acme.send(profile="early")
        once = await acme.send(profile="late", guarantee="at_most_once")
        behind = await acme.send(profile="late", guarantee="at_most_once")
        dead: Process = launch("worker", lease_seconds=1)
        await early.wait_until(lambda server: any("MAIL" in c for c in _commands(server)))
        await late.wait_for_messages(1)
        for in_hand in (message, once):
            assert (await acme.read(f"/messages/{in_hand}"))["status"] == "sending"
        dead.kill()
        launch("worker")
        await acme.message(message, status="sent")
        lost, sent = await acme.attempts(message)
        assert lost["outcome_unknown"] is True
        assert sent["verdict"] == "delivered"
        await acme.message(behind, status="sent")
        held = await acme.message(once, status="held")
        assert held["recipients"][0]["status"] == "uncertain"
        assert (await acme.attempts(once))[0]["outcome_unknown"] is True
        assert len(late.messages) == 2


def _commands(server: SmtpServer) -> list[str]:
    return [command for session in server.sessions for command in session.commands]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_a_second_delivering_process_on_sqlite_is_refused(launch: Any) -> None:
    """It says what to do instead, and exits 2."""
    first: Process = launch("worker")
    await until(first.delivers)
    second: Process = launch("worker")
    assert await second.ended() == 2
    assert "another process already delivers from" in second.log.read_text()


async def test_a_message_in_hand_is_shown_as_sending(start: Start) -> None:
    """Its open recipients too; nothing of that is stored."""
    async with SmtpServer({"dot": [SILENCE]}) as server:
        acme = await (await start(shutdown_grace_seconds=0)).tenant()
        await acme.profile("main", server.port)
        message = await acme.send()
        await server.wait_for_messages(1)
        body = await acme.message(message, status="sending")
        assert body["recipients"][0]["status"] == "sending"
