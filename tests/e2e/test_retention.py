"""What is kept goes after its days, a tenant's own or the service's, and nothing goes before."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest

from app.delivery import maintenance
from app.domain.submissions import SubmissionSession
from app.store import submissions
from app.store.db.database import Database
from tests.e2e.conftest import Start
from tests.store.test_submissions import a_stranger
from tests.support.hand_clock import HandClock
from tests.support.harness import Tenant, cells, until
from tests.support.rows import NOW
from tests.support.servers.smtp_server import SmtpServer

BODY: Final = {"subject": "Your receipt", "text": "Thanks.", "metadata": {"order": "42"}}
ANN: Final = "ann@example.org"


async def send(tenant: Tenant, *to: str) -> Any:
    """A message that was sent."""
    return await tenant.message(await tenant.send(list(to) or [ANN], **BODY), status="sent")


async def wait_message(tenant: Tenant, message: Any, is_so: Callable[[Any], object]) -> Any:
    """The message, once something is so of it."""

    async def fact() -> Any:
        body = await tenant.read(f"/messages/{message['id']}")
        return body if is_so(body) else None

    return await until(fact)


async def raw(tenant: Tenant, message: Any) -> int:
    """With which status its bytes are answered."""
    return (await tenant("GET", f"/messages/{message['id']}/raw")).status_code


async def texts(url: str) -> str:
    """All that is stored."""
    return "\n".join([f"{name}={value!r}" for name, value in await cells(url)])


async def test_content_goes_after_its_days(start: Start, server: SmtpServer) -> None:
    """What became of the message stays; another tenant keeps its content longer."""
    clock = HandClock()
    heloise = await start(clock=clock, content_retention_days=10)
    acme = await heloise.tenant("acme")
    other = await heloise.tenant("other", retention={"content_days": 20})
    for tenant in (acme, other):
        await tenant.profile("main", server.port)
    mine, theirs = await send(acme), await send(other)
    await clock.advance(days=10, hours=2)
    body = await wait_message(acme, mine, lambda read: read["content_wiped_at"])
    assert (body["status"], body["subject"], body["metadata"]) == ("sent", None, {"order": "42"})
    assert body["recipients"][0]["address"] == ANN
    assert len(await acme.attempts(mine["id"])) == 1
    answer = await acme("GET", f"/messages/{mine['id']}/raw")
    assert (answer.status_code, answer.json()["type"]) == (410, "/problems/content-wiped")
    assert await raw(other, theirs) == 200
    await clock.advance(days=10)
    await wait_message(other, theirs, lambda read: read["content_wiped_at"])


async def test_recipients_go_with_all_that_names_them(
    start: Start, server: SmtpServer, migrated_url: str
) -> None:
    """Their statuses stay, and the message; of them there is no word left anywhere."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant(retention={"recipient_days": 3})
    await acme.profile("main", server.port)
    to, tags = ["Ann Lee <ann@example.org>", "bob@example.org"], ["for:Ann@Example.org", "receipt"]
    message = await acme.message(await acme.send(to, **BODY, tags=tags), status="sent")
    assert "ann@example.org" in await texts(migrated_url)
    await clock.advance(days=3, hours=2)
    body = await wait_message(acme, message, lambda read: read["content_wiped_at"])
    assert [
        (recipient["address"], recipient["name"], recipient["status"])
        for recipient in body["recipients"]
    ] == [
        (None, "", "sent"),
        (None, "", "sent"),
    ]
    assert (body["status"], body["metadata"], body["subject"]) == ("sent", {}, None)
    assert await acme.attempts(message["id"]) == []
    left = await texts(migrated_url)
    for word in ("ann@", "bob@", "ann lee", "your receipt"):
        assert word not in left.lower()
    assert body["tags"] == ["receipt"]


async def test_attempts_go_by_themselves(start: Start, server: SmtpServer) -> None:
    """With their dialogues; the message is as it was."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant(retention={"attempt_days": 2})
    await acme.profile("main", server.port)
    message = await send(acme)
    await clock.advance(days=2, hours=2)

    async def fact() -> bool | None:
        return not await acme.attempts(message["id"]) or None

    await until(fact)
    assert await acme.read(f"/messages/{message['id']}") == message
    assert await raw(acme, message) == 200


async def test_a_message_goes_as_a_whole(
    start: Start, server: SmtpServer, migrated_url: str
) -> None:
    """No row of it is left, and its bytes are not counted as stored any more."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant(
        retention={"message_days": 5}, quota={"stored_bytes": 1_000_000}
    )
    await acme.profile("main", server.port)
    message = await send(acme)
    await clock.advance(days=5, hours=2)

    async def fact() -> bool | None:
        answer = await acme("GET", f"/messages/{message['id']}")
        return answer.status_code == 404 or None

    await until(fact)
    left = await texts(migrated_url)
    assert message["id"] not in left.replace(f"_until={message['id']!r}", "")
    assert [limit["used"] for limit in (await acme.read("/usage"))["limits"]] == [0]


@pytest.mark.parametrize("days", ["content_days", "recipient_days"])
async def test_what_is_not_finished_is_taken_once_it_is(
    start: Start, server: SmtpServer, days: str
) -> None:
    """However old it is: it has to be sent first."""
    clock = HandClock()
    heloise = await start(clock=clock, message_max_age_seconds=2_592_000)
    acme = await heloise.tenant(retention={days: 1})
    await acme.profile("main", server.port)
    await acme("POST", "/profiles/main/pause")
    waiting = {"id": await acme.send(**BODY)}
    await clock.advance(days=2)
    # Another tenant's goes in the same round, and tells that it was.
    other = await heloise.tenant("other", retention={"content_days": 1})
    await other.profile("main", server.port)
    witness = await send(other)
    await clock.advance(days=2)
    await wait_message(other, witness, lambda read: read["content_wiped_at"])
    body = await acme.read(f"/messages/{waiting['id']}")
    assert (body["status"], body["content_wiped_at"]) == ("queued", None)
    await acme("POST", "/profiles/main/resume")
    final = await wait_message(acme, waiting, lambda read: read["content_wiped_at"])
    assert final["status"] == "sent"
    is_named = final["recipients"][0]["address"] is not None
    assert is_named == (days == "content_days")
    assert b"Thanks." in server.messages[-1].data


async def test_many_go_in_batches(
    start: Start, server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, and each once."""
    monkeypatch.setattr(maintenance, "PURGE_BATCH_ROWS", 4)
    clock = HandClock()
    heloise = await start(clock=clock, content_retention_days=1)
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    ids = sorted(await asyncio.gather(*(acme.send(**BODY) for _ in range(10))))
    await acme.all_sent(ids)
    await clock.advance(days=1, hours=2)
    for message_id in ids:
        await wait_message(acme, {"id": message_id}, lambda body: body["content_wiped_at"])


async def test_smtp_sessions_go_after_the_days_of_their_log(
    start: Start, migrated_url: str
) -> None:
    """By the service's setting: sessions without a login are no tenant's."""
    clock = HandClock(NOW)
    await start(clock=clock, submission_log_days=2)
    database = Database(migrated_url)
    old, young = a_stranger(1), a_stranger(2, age=-timedelta(days=1))
    async with database.transaction() as connection:
        await submissions.insert(connection, [old, young])

    async def are_left(*expected: SubmissionSession) -> bool:
        async with database.reading() as connection:
            sessions = await submissions.page(connection, tenant_id=None, limit=10)
        return sessions == list(expected)

    await clock.advance(days=1, hours=23)
    assert await are_left(young, old)
    await clock.advance(hours=2)
    await until(partial(are_left, young))
    await database.close()
