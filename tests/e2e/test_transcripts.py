"""The dialogue of each attempt: shown to who asks for it, for some days, without secrets."""

import base64
from datetime import timedelta
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import CANARY, Tenant, cells, until
from tests.support.servers.smtp_server import SmtpServer

ANN = "ann@example.org"
AUTH = {"username": "ann", "password": CANARY, "allow_plaintext_auth": True}
ECHOES = [
    CANARY,
    base64.b64encode(CANARY.encode()).decode(),
    base64.b64encode(f"\0ann\0{CANARY}".encode()).decode(),
]
QUERY = "transcript=true"


async def transcripts(tenant: Tenant, message: str) -> list[Any]:
    """The transcript of each attempt at a message, oldest first."""
    page = await tenant.read(f"/messages/{message}/attempts?{QUERY}")
    return [item["transcript"] for item in page["items"]]


def texts_by(transcript: list[Any], by: str) -> list[str]:
    """All that one of them said."""
    return [line["text"] for line in transcript if line["by"] == by]


@pytest.mark.one_database
async def test_a_dialogue_is_shown_to_who_asks_for_it(start: Start, server: SmtpServer) -> None:
    """Each line with its time and its stage; to whom does not ask there is none."""
    acme = await (await start()).tenant()
    await acme.profile("main", server.port)
    message = await acme.send()
    await acme.message(message, status="sent")
    [transcript] = await transcripts(acme, message)
    assert texts_by(transcript, "client") == [
        "EHLO main.example.com",
        "MAIL FROM:<main@example.com> SIZE=" + str(len(server.messages[0].data)),
        f"RCPT TO:<{ANN}>",
        "DATA",
    ]
    assert transcript[-1] | {"ms": 0} == {
        "ms": 0,
        "stage": "dot",
        "by": "server",
        "text": "250 2.0.0 Ok: queued as 4XyZ",
    }
    assert [attempt["transcript"] for attempt in await acme.attempts(message)] == [None]


@pytest.mark.one_database
async def test_each_attempt_has_a_dialogue_of_its_own(start: Start) -> None:
    """That of a deferred one stays beside the one that succeeded."""
    clock = HandClock()
    async with SmtpServer({"rcpt": ["451 4.3.0 Later"]}) as server:
        acme = await (await start(clock=clock)).tenant()
        await acme.profile("main", server.port)
        message = await acme.send()
        await acme.recipient(message, ANN, status="deferred")
        await clock.advance(hours=1)
        await acme.message(message, status="sent")
        first, second = await transcripts(acme, message)
    assert "451 4.3.0 Later" in texts_by(first, "server")
    assert "451 4.3.0 Later" not in texts_by(second, "server")


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("script", "last"),
    [
        ({"ehlo": "550 5.7.1 Who are you?"}, ("server", "550 5.7.1 Who are you?")),
        ({"banner": "554 5.3.2 Closed"}, ("server", "554 5.3.2 Closed")),
        (None, ("note", "refused")),
    ],
)
async def test_a_connection_that_was_not_opened_has_one_too(
    start: Start, script: dict[str, str] | None, last: tuple[str, str]
) -> None:
    """It tells how far it came, though the attempt counts for nobody."""
    async with SmtpServer(script) as server:
        port = server.port if script else 1
        acme = await (await start()).tenant()
        await acme.profile("main", port)
        message = await acme.send()
        await acme.state("main", "failing")
        [transcript] = await transcripts(acme, message)
    assert transcript[-1]["by"] == last[0]
    assert last[1] in transcript[-1]["text"]


@pytest.mark.one_database
@pytest.mark.parametrize("echo", ECHOES)
async def test_what_a_server_says_back_of_a_password_is_kept_nowhere(
    start: Start, echo: str
) -> None:
    """Invariant 9: the whole database is searched for it when the test ends."""
    script = {
        "banner": f"220 mx {echo}",
        "auth": f"235 2.7.0 {echo}",
        "mail": f"250 2.1.0 {echo}",
        "rcpt": ["550 5.1.1 " + echo, f"250 2.1.5 {echo}"],
        "dot": f"250 2.0.0 queued as {echo}",
    }
    async with SmtpServer(script, users={"ann": CANARY}) as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port, auth=AUTH)
        message = await acme.send([ANN, "bob@example.org"])
        await acme.message(message, status="partially_sent")
        [transcript] = await transcripts(acme, message)
    assert texts_by(transcript, "server")[-1] == "250 2.0.0 queued as ***"
    assert echo not in str(transcript)


@pytest.mark.one_database
@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("stage", ["banner", "ehlo", "auth", "mail"])
async def test_nor_what_it_says_back_when_it_refuses(start: Start, stage: str, echo: str) -> None:
    """Invariant 9: neither in the attempt, nor in why the profile fails, nor in the log."""
    script = {stage: f"535 5.7.8 {echo} is wrong"}
    async with SmtpServer(script, users={"ann": CANARY}) as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port, auth=AUTH)
        message = await acme.send()

        async def attempt() -> Any:
            return next(iter(await transcripts(acme, message)), None)

        assert "535 5.7.8 *** is wrong" in texts_by(await until(attempt), "server")


async def test_old_dialogues_are_forgotten_and_young_ones_kept(
    start: Start, server: SmtpServer
) -> None:
    """By the retention that is set, to the hour; the attempts stay."""
    clock = HandClock()
    heloise = await start(clock=clock, transcript_retention_days=2)
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    await acme.profile("paused", server.port)
    await acme("POST", "/profiles/paused/pause")
    message = await acme.send(profile="main")
    await acme.message(message, status="sent")
    for hours, is_kept in ((47, True), (2, False)):
        due = clock.now() + timedelta(hours=hours, minutes=-30)
        swept = await acme.send(profile="paused", expires_at=due.isoformat())
        await clock.advance(hours=hours)
        await acme.message(swept, status="failed")
        [transcript] = await transcripts(acme, message)
        assert (transcript is not None) is is_kept
    assert len(await acme.attempts(message)) == 1


@pytest.mark.one_database
async def test_only_failures_keep_their_dialogue_where_that_is_set(start: Start) -> None:
    """One refused recipient is a failure; a message that every recipient gets is none."""
    script = {"rcpt": ["250 2.1.5 OK", "550 5.1.1 no such user", "250 2.1.5 OK"]}
    async with SmtpServer(script) as server:
        acme = await (await start(transcripts="failures")).tenant()
        await acme.profile("main", server.port)
        refused = await acme.send([ANN, "bob@example.org"])
        await acme.message(refused, status="partially_sent")
        sent = await acme.send()
        await acme.message(sent, status="sent")
        [transcript] = await transcripts(acme, refused)
        assert "550 5.1.1 no such user" in texts_by(transcript, "server")
        assert await transcripts(acme, sent) == [None]


@pytest.mark.one_database
async def test_with_a_retention_of_none_nothing_is_written(
    start: Start, server: SmtpServer, migrated_url: str
) -> None:
    """Not even for a moment."""
    acme = await (await start(transcript_retention_days=0)).tenant()
    await acme.profile("main", server.port)
    message = await acme.send()
    await acme.message(message, status="sent")
    assert await transcripts(acme, message) == [None]
    tables = {name.partition(".")[0] for name, _ in await cells(migrated_url)}
    assert "attempts" in tables
    assert "attempt_transcripts" not in tables
