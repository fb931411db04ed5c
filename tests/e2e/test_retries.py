"""When a recipient that was refused for now is tried again, and when it is given up."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import until
from tests.support.servers.smtp_server import SmtpServer

ANN = "ann@example.org"
LATER = "451 4.3.0 Later"


def moment(text: str) -> datetime:
    """A time as the API writes it."""
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.one_database
async def test_the_profile_says_how_long_to_wait(start: Start) -> None:
    """Never longer than its ceiling for that failure, and never past its cap."""
    clock = HandClock()
    async with SmtpServer({"rcpt": LATER}) as server:
        acme = await (await start(clock=clock)).tenant()
        retry = {"first_seconds": 10, "factor": 10, "cap_seconds": 50}
        await acme.profile("main", server.port, retry=retry)
        message = await acme.send()
        for attempts, ceiling in ((1, 10), (2, 50), (3, 50)):

            async def waits(attempts: int = attempts) -> float | None:
                [recipient] = (await acme.read(f"/messages/{message}"))["recipients"]
                if (recipient["status"], recipient["attempts"]) != ("deferred", attempts):
                    return None
                return (moment(recipient["next_attempt_at"]) - clock.now()).total_seconds()

            assert await until(waits) <= ceiling
            await clock.advance(seconds=ceiling)


@pytest.mark.one_database
async def test_a_greylisting_server_is_asked_again_some_minutes_later(start: Start) -> None:
    """Not at once, and not much later either (RFC 6647)."""
    clock = HandClock()
    async with SmtpServer({"rcpt": ["450 4.2.0 Greylisted"]}) as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("main", server.port)
        message = await acme.send()
        deferred = await acme.recipient(message, ANN, status="deferred")
        wait = moment(deferred["next_attempt_at"]) - clock.now()
        assert timedelta(minutes=3) <= wait <= timedelta(minutes=6)
        await clock.advance(minutes=6)
        await acme.message(message, status="sent")


@pytest.mark.one_database
async def test_the_messages_own_end_comes_first(start: Start) -> None:
    """`expires_at` wins over the profile's max_age, which wins over the service's."""
    clock = HandClock()
    async with SmtpServer({"rcpt": LATER}) as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("main", server.port, retry={"max_age_seconds": 7200})
        by_profile = await acme.send()
        soon = clock.now() + timedelta(minutes=30)
        by_message = await acme.send(expires_at=soon.isoformat())
        await acme.recipient(by_message, ANN, status="deferred")
        await clock.advance(minutes=31)
        assert (await acme.message(by_message, status="failed"))["recipients"][0]["status"] == (
            "expired"
        )
        assert (await acme.read(f"/messages/{by_profile}"))["status"] != "failed"
        await clock.advance(minutes=90)
        await acme.message(by_profile, status="failed")


async def test_a_profile_that_fails_for_too_long_lets_its_messages_expire(start: Start) -> None:
    """No attempt is used, yet nothing waits for ever."""
    clock = HandClock()
    async with SmtpServer({"ehlo": "550 no"}) as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("main", server.port, retry={"max_age_seconds": 3600})
        message = await acme.send()
        await acme.state("main", "failing")
        await clock.advance(hours=2)
        body = await acme.message(message, status="failed")
        assert (body["recipients"][0]["status"], body["recipients"][0]["attempts"]) == (
            "expired",
            0,
        )


async def test_urgent_messages_go_first_and_the_others_do_not_starve(start: Start) -> None:
    """High before normal before low; a low one that has waited for long goes before newer ones."""
    clock = HandClock()
    async with SmtpServer() as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("main", server.port, max_connections=1)
        await acme("POST", "/profiles/main/pause")
        await acme.send(subject="old-low", priority="low")
        await clock.advance(minutes=11)
        for subject in ("low", "normal", "high"):
            await acme.send(subject=subject, priority=subject)
        await acme("POST", "/profiles/main/resume")
        await server.wait_for_messages(4)
        subjects = [
            line.removeprefix(b"Subject: ").decode()
            for received in server.messages
            for line in received.data.split(b"\r\n")
            if line.startswith(b"Subject: ")
        ]
        assert subjects == ["old-low", "high", "normal", "low"]
