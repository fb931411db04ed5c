"""Invariant 5: at least once, honestly; and at most once where that is asked for."""

from functools import partial
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import until
from tests.support.servers.smtp_server import DISCONNECT, SmtpServer

ONCE = {"guarantee": "at_most_once"}


@pytest.mark.parametrize("script", [{"dot": [DISCONNECT]}, {"body": [DISCONNECT]}])
async def test_a_lost_answer_leaves_the_recipient_uncertain(start: Start, script: Any) -> None:
    """The message is held, is not sent again, and waits for somebody to decide."""
    clock = HandClock()
    async with SmtpServer(script) as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("main", server.port)
        message = await acme.send(**ONCE)
        held = await acme.message(message, status="held")
        assert [recipient["status"] for recipient in held["recipients"]] == ["uncertain"]
        [attempt] = await acme.attempts(message)
        assert attempt["outcome_unknown"] is True
        await clock.advance(hours=100)
        await acme.message(await acme.send(), status="sent")
        assert (await acme.read(f"/messages/{message}"))["status"] == "held"
        assert [item["id"] for item in (await acme.read("/messages?status=held"))["items"]] == [
            message
        ]


@pytest.mark.parametrize(("retry", "times"), [({}, 3), ({"max_unknown_outcomes": 1}, 1)])
async def test_a_server_that_never_answers_gets_a_message_so_many_times(
    start: Start, retry: dict[str, int], times: int
) -> None:
    """Under at_least_once too; then its recipient is uncertain, and the last attempt says why."""
    clock = HandClock()
    async with SmtpServer({"dot": DISCONNECT}) as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("main", server.port, retry={"first_seconds": 1} | retry)
        message = await acme.send()

        async def has_attempts(count: int) -> bool | None:
            await acme.settled()
            body = await acme.read(f"/messages/{message}")
            return body["recipients"][0]["attempts"] == count or None

        for count in range(1, times):
            await until(partial(has_attempts, count))
            await clock.advance(seconds=61)
        held = await acme.message(message, status="held")
        [recipient] = held["recipients"]
        assert (recipient["status"], recipient["attempts"]) == ("uncertain", times)
        assert len(server.messages) == times
        last = (await acme.attempts(message))[-1]
        assert last["outcome_unknown"]
        assert "max_unknown_outcomes" in last["detail"]
        del server.script["dot"]
        await acme("POST", f"/messages/{message}/resolve", {"as": "retry"})
        await acme.message(message, status="sent")


async def test_what_is_known_is_no_uncertainty(start: Start) -> None:
    """An answer to the final dot is one: taken is sent, 4yz is tried again, 5yz has bounced."""
    clock = HandClock()
    async with SmtpServer({"dot": ["451 4.3.0 Later", None, "554 5.7.1 No"]}) as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("main", server.port)
        first = await acme.send(**ONCE)
        await acme.recipient(first, "ann@example.org", status="deferred")
        await clock.advance(minutes=2)
        await acme.message(first, status="sent")
        second = await acme.send(**ONCE)
        await acme.message(second, status="failed")


@pytest.mark.one_database
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
async def test_before_the_body_nothing_is_uncertain(start: Start, stage: str) -> None:
    """A connection that is lost there is tried again."""
    clock = HandClock()
    async with SmtpServer({stage: [DISCONNECT]}, extensions=[]) as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("main", server.port)
        message = await acme.send(**ONCE)
        await acme.recipient(message, "ann@example.org", status="deferred")
        await clock.advance(minutes=2)
        await acme.message(message, status="sent")


@pytest.mark.parametrize(
    ("resolution", "status", "deliveries"), [("sent", "sent", 1), ("bounced", "failed", 1)]
)
async def test_somebody_decides_what_became_of_it(
    start: Start, resolution: str, status: str, deliveries: int
) -> None:
    """By POST /messages/{id}/resolve; nothing is sent for it."""
    async with SmtpServer({"dot": [DISCONNECT]}) as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port)
        message = await acme.send(**ONCE)
        await acme.message(message, status="held")
        answer = await acme("POST", f"/messages/{message}/resolve", {"as": resolution})
        assert answer.status_code == 200
        assert answer.json()["status"] == status
        assert len(server.messages) == deliveries
        second = await acme("POST", f"/messages/{message}/resolve", {"as": resolution})
        assert second.json()["status"] == status


async def test_an_uncertain_recipient_is_sent_to_again_on_somebodys_word(start: Start) -> None:
    """That one alone; the other stays held."""
    async with SmtpServer({"dot": [DISCONNECT]}) as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port)
        message = await acme.send(["ann@example.org", "bob@example.org"], **ONCE)
        await acme.message(message, status="held")
        body = {"recipients": ["ANN@example.org"], "as": "retry"}
        assert (await acme("POST", f"/messages/{message}/resolve", body)).status_code == 200
        await acme.recipient(message, "ann@example.org", status="sent")
        held = await acme.message(message, status="held")
        assert [recipient["status"] for recipient in held["recipients"]] == ["sent", "uncertain"]
        assert [mail.recipients for mail in server.messages][1:] == [["ann@example.org"]]
        refusal = await acme("POST", f"/messages/{message}/resolve", body)
        assert (refusal.status_code, refusal.json()["type"]) == (
            409,
            "/problems/recipient-not-uncertain",
        )
