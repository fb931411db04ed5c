"""Kill -9 of a worker at each point of a message's way (invariants 1 to 5).

Whatever the point, another worker takes over; what counts is how often the server has seen the
message, and what the record says of it.
"""

import signal
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.e2e.conftest import Start
from tests.support.harness import Process, Tenant
from tests.support.processes import dying_worker
from tests.support.servers.smtp_server import SILENCE, Received, SmtpServer

pytestmark = pytest.mark.long

# At these the server has seen as much as it needs to tell when: it stays silent until the kill.
SILENT_AT: Final = {"after_mail": "mail", "after_dot": "dot"}
POINTS: Final = (*SILENT_AT, *dying_worker.POINTS)
# The server has the message, and no commit says so: the two points of invariant 5.
TAKEN_UNSETTLED: Final = {"after_dot", "after_reply", "during_settle"}
MARKED: Final = {"mid_body", *TAKEN_UNSETTLED}
LONG: Final = "It works, and goes on working for quite some time.\n" * 60_000


def has_seen(point: str) -> Callable[[SmtpServer], bool]:
    """Whether the message has come to the point at which the server is silent."""
    if point == "after_dot":
        return lambda server: len(server.messages) == 1
    return lambda server: any(
        "MAIL" in command for session in server.sessions for command in session.commands
    )


async def crash(point: str, server: SmtpServer, launch: Any) -> None:
    """One worker dies at the point, and a second one takes over."""
    if point in SILENT_AT:
        dead: Process = launch("worker", lease_seconds=1)
        await server.wait_until(has_seen(point))
        dead.process.kill()
    else:
        dead = launch(point, module=dying_worker.__name__, lease_seconds=1)
    assert await dead.ended() == -signal.SIGKILL, dead.log.read_text()
    launch("worker")


async def send_across_crash(
    point: str, guarantee: str, server: SmtpServer, start: Start, launch: Any
) -> tuple[Tenant, str]:
    """A message that a worker died over; the one behind it has been sent meanwhile."""
    acme = await (await start(delivery=False)).tenant()
    await acme.profile("main", server.port, max_connections=1)
    fields = {"guarantee": guarantee, "subject": "across"}
    text = LONG if point == "mid_body" else "It works."
    message = await acme.send(text=text, **fields)
    await crash(point, server, launch)
    await acme.message(await acme.send(subject="behind"), status="sent")
    return acme, message


def script_server(point: str) -> SmtpServer:
    """A server that is silent at the point, where it is one that a server can see."""
    return SmtpServer({SILENT_AT[point]: [SILENCE]} if point in SILENT_AT else None)


def across(server: SmtpServer) -> list[Received]:
    """The message in question, as often as it came in whole."""
    return [message for message in server.messages if b"Subject: across" in message.data]


@pytest.mark.parametrize("point", POINTS)
async def test_at_least_once_is_never_lost(point: str, start: Start, launch: Any) -> None:
    """It comes twice only where the server had it and no commit said so, and then that is told."""
    async with script_server(point) as server:
        acme, message = await send_across_crash(point, "at_least_once", server, start, launch)
        body = await acme.message(message, status="sent")
        attempts = await acme.attempts(message)
        copies = across(server)
    assert [recipient["status"] for recipient in body["recipients"]] == ["sent"]
    assert len(copies) == (2 if point in TAKEN_UNSETTLED else 1)
    assert len({copy.data for copy in copies}) == 1
    is_told = any(attempt["outcome_unknown"] for attempt in attempts)
    assert is_told or len(copies) == 1
    if point == "after_commit":
        assert [(attempt["verdict"], attempt["outcome_unknown"]) for attempt in attempts] == [
            ("delivered", False)
        ]


@pytest.mark.parametrize("point", POINTS)
async def test_at_most_once_is_never_seen_twice(point: str, start: Start, launch: Any) -> None:
    """Whose body had gone out is uncertain and held; what never left is sent."""
    async with script_server(point) as server:
        acme, message = await send_across_crash(point, "at_most_once", server, start, launch)
        is_marked = point in MARKED
        body = await acme.message(message, status="held" if is_marked else "sent")
        attempts = await acme.attempts(message)
        copies = across(server)
    status = "uncertain" if is_marked else "sent"
    assert [recipient["status"] for recipient in body["recipients"]] == [status]
    assert len(copies) == (0 if point == "mid_body" else 1)
    if is_marked:
        assert any(attempt["outcome_unknown"] for attempt in attempts)
