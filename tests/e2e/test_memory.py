"""What is secret is in memory no longer than it is needed: a heap dump holds little of it."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import CANARY, Heloise, Process, Watched, spellings, until
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import SmtpServer

CONTENT = "content-2b8e-of-a-message"
MAX_DUMPS = 100


async def heap(process: Process, folder: Path) -> bytes:
    """Every string that lives in the process."""
    file = folder / "heap"
    await asyncio.to_thread(file.unlink, missing_ok=True)
    process.process.send_signal(signal.SIGUSR1)

    async def fact() -> bytes | None:
        return await asyncio.to_thread(file.read_bytes) if file.exists() else None

    return await until(fact)


@pytest.mark.slow
async def test_a_heap_dump_holds_no_secret_that_is_not_in_use(
    launch: Any, watched: Watched, tmp_path: Path
) -> None:
    """The content of a message goes with it, a password with the last connection that needs it."""
    process: Process = launch(
        "serve", port=unused_port(), module="tests.support.processes.heap_dump"
    )
    await process.wait_ready()
    heloise = Heloise(process.url, watched)
    async with heloise.http, SmtpServer(users={"billing": CANARY}) as server:
        acme = await heloise.tenant()
        auth = {"username": "billing", "password": CANARY, "allow_plaintext_auth": True}
        await acme.profile("main", server.port, auth=auth)
        assert CANARY.encode() not in await heap(process, tmp_path)
        for is_sensitive in (False, True):
            message = await acme.send(text=CONTENT, sensitive=is_sensitive)
            await acme.message(message, status="sent")
        assert CONTENT.encode() in server.messages[1].data
        used = await heap(process, tmp_path)
        assert CONTENT.encode() not in used
        # It finds what there is: the profile is at work, and could log in once more.
        assert CANARY.encode() in used
        await acme("DELETE", "/profiles/main")

        dumps = 0

        async def fact() -> bool | None:
            nonlocal dumps
            dumped, dumps = await heap(process, tmp_path), dumps + 1
            return not any(spelling in dumped for spelling in spellings(CANARY)) or None

        # On a busy machine a dump takes many seconds.
        await until(fact, progress=lambda: min(dumps, MAX_DUMPS))
