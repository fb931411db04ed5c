"""A backup of a service that works holds what it accepted, and sends nothing twice in silence."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.support.harness import Heloise, Process, Tenant, Watched
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import SmtpServer
from tests.support.waiting import until

BEFORE, AFTER = 20, 20


def select(path: Path, query: str) -> list[Any]:
    """Rows of a copy, as SQLite has them."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


async def hold(launch: Any, url: str) -> None:
    """Run `heloise hold` on a copy, once the worker of the backup counts as dead."""
    refused: Process = launch("hold", database_url=url, lease_seconds=3600)
    assert await refused.ended() == 2
    assert "processes deliver" in refused.log.read_text()

    async def fact() -> bool | None:
        process: Process = launch("hold", database_url=url, lease_seconds=1)
        return await process.ended() == 0 or None

    await until(fact)


@pytest.mark.one_database
@pytest.mark.slow
async def test_a_backup_of_a_busy_service_can_be_restored(
    launch: Any, start: Start, watched: Watched, server: SmtpServer, tmp_path: Path
) -> None:
    """Every message that was accepted before it began is in it, and no message is there in part.

    The restored service sends none again that was sent after the backup: it does not start before
    they are held, and then somebody decides (invariant 5).
    """
    process: Process = launch("serve", port=(port := unused_port()))
    await process.wait_ready()
    target = tmp_path / "copies" / "heloise.db"
    target.parent.mkdir()
    heloise = Heloise(f"http://127.0.0.1:{port}", watched)
    async with heloise.http:
        acme = await heloise.tenant()
        await acme.profile("main", server.port, max_connections=2)
        await acme.profile("paused", server.port)
        await acme("POST", "/profiles/paused/pause")
        waiting = [await acme.send(profile="paused") for _ in range(3)]
        accepted = [*waiting, *[await acme.send(profile="main") for _ in range(BEFORE)]]
        sending = asyncio.gather(*(acme.send(profile="main") for _ in range(AFTER)))
        backup: Process = launch("backup", str(target))
        assert await backup.ended() == 0, backup.log.read_text()
        await sending
        await acme("POST", "/profiles/paused/resume")
        for message_id in waiting:
            await acme.message(message_id, status="sent")
    assert process.stop() == 0
    arrived = len(server.messages)

    assert set(accepted) <= {row[0] for row in select(target, "SELECT id FROM messages")}
    assert not select(
        target,
        "SELECT id FROM messages WHERE id NOT IN (SELECT message_id FROM recipients)"
        " OR id NOT IN (SELECT message_id FROM message_contents)",
    )
    assert not select(target, "PRAGMA foreign_key_check")

    restored = f"sqlite:///{target}"
    hasty: Process = launch("worker", database_url=restored)
    assert await hasty.ended() == 2
    assert "run `heloise hold`" in hasty.log.read_text()
    await hold(launch, restored)
    second = await start(database_url=restored)
    tenant = Tenant(second.http, acme.headers)
    await tenant("POST", "/profiles/paused/resume")
    await tenant.message(await tenant.send(profile="paused"), status="sent")
    arrived += 1
    assert len(server.messages) == arrived
    for message_id in waiting:
        assert (await tenant.read(f"/messages/{message_id}"))["status"] == "held"
        await tenant("POST", f"/messages/{message_id}/resolve", {"as": "retry"})
        await tenant.message(message_id, status="sent")
    assert len(server.messages) == arrived + len(waiting)
