"""Invariant 4: every recipient reaches exactly one final status, with what the server said."""

from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.servers.smtp_server import DISCONNECT, SmtpServer

ANSWERS = {
    "gone@example.org": "550 5.1.1 No such user",
    "grey@example.org": "450 4.2.0 Greylisted",
}


async def test_each_recipient_has_its_own_outcome(start: Start) -> None:
    """One is sent, one bounced, one deferred, and then sent too."""
    clock = HandClock()
    answers: dict[str, str] = dict(ANSWERS)
    async with SmtpServer({"rcpt": answers.get}) as server:
        heloise = await start(clock=clock)
        acme = await heloise.tenant()
        await acme.profile("main", server.port)
        message = await acme.send(["ann@example.org", *ANSWERS])
        deferred = await acme.recipient(message, "grey@example.org", status="deferred")
        assert deferred["attempts"] == 1
        assert deferred["next_attempt_at"] is not None
        assert deferred["last_reply"] == {
            "code": 450,
            "enhanced_code": "4.2.0",
            "text": "Greylisted",
            "classification": "greylisted",
        }
        del answers["grey@example.org"]
        await clock.advance(minutes=6)
        body = await acme.message(message, status="partially_sent")
        assert [
            (recipient["status"], recipient["attempts"]) for recipient in body["recipients"]
        ] == [
            ("sent", 1),
            ("bounced", 1),
            ("sent", 2),
        ]
        assert body["recipients"][1]["last_reply"]["text"] == "No such user"
        assert [received.recipients for received in server.messages] == [
            ["ann@example.org"],
            ["grey@example.org"],
        ]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("script", "stage", "classification"),
    [
        ({"rcpt": "550 5.1.1 No such user"}, "rcpt", "recipient_rejected"),
        ({"mail": "550 5.7.1 Sender denied"}, "mail", "sender_rejected"),
        ({"data": "554 5.7.1 No"}, "data", "content_rejected"),
        ({"dot": "554 5.7.1 Spam"}, "dot", "content_rejected"),
    ],
)
async def test_a_refusal_for_good_ends_the_message(
    start: Start, script: Any, stage: str, classification: str
) -> None:
    """One attempt, which tells at which stage, and the message has failed."""
    async with SmtpServer(script) as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port)
        message = await acme.send()
        body = await acme.message(message, status="failed")
        assert body["recipients"][0]["last_reply"]["classification"] == classification
        [attempt] = await acme.attempts(message)
        assert (attempt["stage"], attempt["classification"]) == (stage, classification)
        assert attempt["ehlo_name"] == "main.example.com"
        assert attempt["verdict"] == "bounce"


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("script", "unknown"),
    [
        ({"data": [DISCONNECT]}, False),
        ({"body": [DISCONNECT]}, True),
        ({"dot": [DISCONNECT]}, True),
    ],
)
async def test_a_lost_connection_is_tried_again_and_told(
    start: Start, script: Any, *, unknown: bool
) -> None:
    """Once the body has gone out, the attempt says that the outcome is not known (invariant 5)."""
    clock = HandClock()
    async with SmtpServer(script, extensions=[]) as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("main", server.port)
        message = await acme.send()
        await acme.recipient(message, "ann@example.org", status="deferred")
        await clock.advance(minutes=2)
        await acme.message(message, status="sent")
        first, second = await acme.attempts(message)
        assert first["outcome_unknown"] is unknown
        assert second["verdict"] == "delivered"


@pytest.mark.one_database
async def test_a_server_that_breaks_over_pipelining_is_asked_one_by_one(start: Start) -> None:
    """At once, and it is told; the next message does not try its luck again."""
    async with SmtpServer() as server:
        server.script["mail"] = lambda _: DISCONNECT if server.sessions[-1].unread() else None
        acme = await (await start()).tenant()
        await acme.profile("main", server.port, max_connections=1, max_messages_per_connection=1)
        first, second = await acme.send(), await acme.send()
        for message in (first, second):
            await acme.message(message, status="sent")
        broken, delivered = await acme.attempts(first)
        assert (broken["scope"], broken["classification"]) == ("connection", "pipelining_broken")
        assert not broken["outcome_unknown"]
        assert delivered["verdict"] == "delivered"
        assert len(await acme.attempts(second)) == 1


async def test_what_still_fails_at_its_end_expires(start: Start) -> None:
    """The last reply stays, and says why."""
    clock = HandClock()
    async with SmtpServer({"rcpt": "451 4.3.0 Not now"}) as server:
        acme = await (await start(clock=clock, message_max_age_seconds=3600)).tenant()
        await acme.profile("main", server.port)
        message = await acme.send()
        await acme.recipient(message, "ann@example.org", status="deferred")
        await clock.advance(hours=2)
        body = await acme.message(message, status="failed")
        [recipient] = body["recipients"]
        assert recipient["status"] == "expired"
        assert recipient["last_reply"]["text"] == "Not now"


async def test_too_many_recipients_go_in_further_transactions_at_once(start: Start) -> None:
    """RFC 5321 section 4.5.3.1.10: no attempt is used up, nobody waits."""
    async with SmtpServer() as server:
        accepted_addresses: list[str] = []

        def at_most_three(address: str) -> str | None:
            if (
                len(accepted_addresses) % 3 == 0
                and accepted_addresses
                and accepted_addresses[-1] != "full"
            ):
                accepted_addresses.append("full")
                return "452 4.5.3 Too many recipients"
            if accepted_addresses and accepted_addresses[-1] == "full":
                accepted_addresses.pop()
            accepted_addresses.append(address)
            return None

        server.script["rcpt"] = at_most_three
        acme = await (await start()).tenant()
        await acme.profile("main", server.port)
        message = await acme.send([f"a{n}@example.org" for n in range(4)])
        body = await acme.message(message, status="sent")
        assert {recipient["attempts"] for recipient in body["recipients"]} == {1}
        assert [len(received.recipients) for received in server.messages] == [3, 1]
