"""One key, one message: over replicas, over a crash, and for a day."""

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from app.store.db.database import Database
from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import Heloise, Process, Tenant, Watched, until
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import SmtpServer

BODY = {"to": ["ann@example.org"], "subject": "Hello", "text": "It works."}


async def send_keyed(tenant: Tenant, key: str) -> httpx.Response:
    """The answer to a message with a key."""
    return await tenant("POST", "/messages", BODY, headers={"Idempotency-Key": key})


async def test_a_hundred_at_once_on_several_replicas_are_one(start: Start) -> None:
    """Whoever comes second, here or there, gets the first answer or is told to wait."""
    replicas = [await start(delivery=False) for _ in range(3)]
    acme = await replicas[0].tenant()
    await acme.profile("main", 25)
    everywhere = [Tenant(replica.http, acme.headers, acme.tenant_id) for replica in replicas]
    for key in ("a", "b", "c"):
        answers = await asyncio.gather(*(send_keyed(everywhere[n % 3], key) for n in range(100)))
        assert Counter(answer.status_code for answer in answers).keys() <= {202, 409}
        successes = [answer for answer in answers if answer.status_code == 202]
        assert len({response.content for response in successes}) == 1
        assert sum("Idempotent-Replayed" not in response.headers for response in successes) == 1
    assert len((await acme.read("/messages?limit=200"))["items"]) == 3


@pytest.mark.slow
async def test_a_crash_between_does_not_send_twice(
    launch: Any, watched: Watched, migrated_url: str
) -> None:
    """Killed while it accepts: asked again with the same keys, each message is there once."""
    port = unused_port()
    first: Process = launch("serve", "--no-delivery", port=port)
    await first.wait_ready()
    heloise = Heloise(first.url, watched)
    acme = await heloise.tenant()
    await acme.profile("main", 25)

    async def try_send(key: str) -> httpx.Response | None:
        try:
            return await send_keyed(acme, key)
        except httpx.TransportError:
            return None

    keys = [f"key-{number}" for number in range(200)]
    tasks = [asyncio.create_task(try_send(key)) for key in keys]
    await until(lambda: _any_done(tasks))
    first.kill()
    before = dict(zip(keys, await asyncio.gather(*tasks), strict=True))
    assert None in before.values()
    await heloise.http.aclose()
    second: Process = launch("serve", "--no-delivery", port=port)
    await second.wait_ready()
    async with Heloise(second.url, watched).http as http:
        second_tenant = Tenant(http, acme.headers, acme.tenant_id)
        after = {key: await send_keyed(second_tenant, key) for key in keys}
    for key, answer in after.items():
        assert answer.status_code == 202
        answer_before = before[key]
        if answer_before is not None and answer_before.status_code == 202:
            assert answer.content == answer_before.content
    database = Database(migrated_url)
    async with database.reading() as connection:
        stored = (await connection.exec_driver_sql("SELECT id FROM messages")).scalars().all()
    await database.close()
    assert sorted(stored) == sorted(response.json()["id"] for response in after.values())


async def _any_done(tasks: list[asyncio.Task[Any]]) -> bool | None:
    return sum(task.done() for task in tasks) >= 5 or None


async def test_a_key_is_kept_for_a_day(start: Start, server: SmtpServer) -> None:
    """Then it may be used for another request."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port)
    first = (await send_keyed(acme, "k")).json()["id"]
    await clock.advance(hours=23, minutes=59)
    assert (await send_keyed(acme, "k")).json()["id"] == first
    await clock.advance(minutes=2)

    async def fact() -> str | None:
        message_id = str((await send_keyed(acme, "k")).json()["id"])
        return message_id if message_id != first else None

    await until(fact)
