"""Kill -9 of what accepts messages over SMTP, at each point of a message's way (invariants 1, 4).

No client reads 250 for a message that is not stored; one that submits again what it got no 250 for
has it stored once.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest

from tests.e2e.conftest import Start
from tests.support.harness import Process, Tenant, until
from tests.support.processes.submitting import Submitting
from tests.support.servers.smtp_server import SmtpServer
from tests.support.submission import SmtpClient, connecting, key_of

SENDER: Final = "main@example.com"
CLIENTS: Final = 20
MESSAGES_EACH: Final = 5


def content(name: str) -> bytes:
    """A message that is known by this name."""
    header = f"From: {SENDER}\r\nSubject: {name}\r\nMessage-ID: <{name}@example.com>\r\n"
    return f"{header}\r\nIt works.\r\n".encode()


async def submit_again(client: SmtpClient, name: str) -> str:
    """The reply to the message; empty if the connection broke before it."""
    try:
        return await client.submit(content(name), SENDER)
    except (ConnectionError, AssertionError):  # it broke within the envelope
        return ""


async def load_ids(acme: Tenant) -> dict[str, str]:
    """The ids of the messages that are stored, by their names; each name is there once."""
    cursor, messages = "", []
    while True:
        page = await acme.read(f"/messages?limit=200{cursor}")
        messages += page["items"]
        if not page["next_cursor"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    counts = Counter(message["subject"] for message in messages)
    assert set(counts.values()) <= {1}, counts
    return {message["subject"]: message["id"] for message in messages}


async def assert_sent_once(
    acme: Tenant, launch: Any, backend: str, replies: Mapping[str, str], server: SmtpServer
) -> None:
    """All who got no 250 submit again, and others too; then each message arrives once."""
    before = await load_ids(acme)
    for name, reply in replies.items():
        if reply:
            assert reply == f"250 2.0.0 Queued as {before[name]}"
    second = Submitting(launch, backend)
    await second.wait_ready()
    async with connecting(second.port) as client:
        await client.log_in("main", key_of(acme))
        repeated = {name: await submit_again(client, name) for name in replies}
    after = await load_ids(acme)
    assert repeated == {name: f"250 2.0.0 Queued as {after[name]}" for name in replies}
    assert before.items() <= after.items()
    assert after.keys() == replies.keys()
    launch("worker")
    await acme.all_sent(after.values())
    assert len(server.messages) == len(after)


@pytest.mark.parametrize("point", ["before_transaction", "before_commit", "before_reply"])
async def test_a_kill_at_each_point(
    point: str, backend: str, start: Start, launch: Any, server: SmtpServer
) -> None:
    """Of four clients one has its 250, one is before DATA, one within the content, one after it."""
    acme = await (await start(delivery=False)).tenant()
    await acme.profile("main", server.port)
    first = Submitting(launch, backend, point=point)
    await first.wait_ready()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connecting(first.port)) for _ in range(4)]
        for client in clients:
            await client.log_in("main", key_of(acme))
        answered_client, before_data, within_content, after_content = clients
        replies = {"answered": await answered_client.submit(content("answered"), SENDER)}
        await before_data.envelope(SENDER)
        await within_content.envelope(SENDER)
        assert (await within_content("DATA"))[:3] == "354"
        within_content.send(content("within-content")[:-20])
        replies["after-content"] = await submit_again(after_content, "after-content")
        assert await first.process.ended() == -signal.SIGKILL, first.process.log.read_text()
    replies |= {"before-data": "", "within-content": ""}
    assert replies["answered"][:3] == "250"
    assert not replies["after-content"]
    is_stored = point == "before_reply"
    assert (await load_ids(acme)).keys() == {"answered"} | (
        {"after-content"} if is_stored else set()
    )
    await assert_sent_once(acme, launch, backend, replies, server)


@pytest.mark.slow
async def test_a_kill_under_load(
    backend: str, start: Start, launch: Any, server: SmtpServer
) -> None:
    """Wherever each of many clients is at that instant."""
    acme = await (await start(delivery=False)).tenant()
    await acme.profile("main", server.port)
    first = Submitting(launch, backend)
    await first.wait_ready()
    replies = dict[str, str]()

    async def submit_some(number: int) -> None:
        names = [f"m-{number}-{count}" for count in range(MESSAGES_EACH)]
        replies.update(dict.fromkeys(names, ""))
        try:
            async with connecting(first.port) as client:
                await client.log_in("main", key_of(acme))
                for name in names:
                    replies[name] = await submit_again(client, name)
        except (ConnectionError, AssertionError):  # it broke before the first message
            return

    submitting = asyncio.gather(*(submit_some(number) for number in range(CLIENTS)))

    async def fact() -> bool | None:
        return sum(map(bool, replies.values())) >= CLIENTS or None

    await until(fact)
    killed: Process = first.process
    killed.kill()
    await submitting
    assert "" in replies.values()
    await assert_sent_once(acme, launch, backend, replies, server)
