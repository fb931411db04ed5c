"""What is done to many leaves its line in the audit log, even where the process dies over it."""

import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Start
from tests.support.harness import Process, Tenant
from tests.support.processes import dying_service
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import SmtpServer

ANN = "ann@example.org"


async def line(caller: Any, action: str) -> dict[str, Any]:
    """What the only line of an action says came of it."""
    [entry] = (await caller.read(f"/audit-log?action={action}"))["items"]
    return {name: change["after"] for name, change in entry["changes"].items()}


async def schedule_messages(acme: Tenant, count: int) -> list[str]:
    """Messages that wait till tomorrow, newest first."""
    at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    return [await acme.send(ANN, send_at=at, tags=["x"]) for _ in range(count)][::-1]


async def dies(launch: Any, point: str, acme: Tenant, method: str, path: str, body: Any) -> None:
    """A service of its own is asked for it, and dies over it."""
    dying: Process = launch(
        point, "serve", "--no-delivery", port=unused_port(), module=dying_service.__name__
    )
    await dying.wait_ready()
    async with httpx.AsyncClient(base_url=dying.url, timeout=60) as http:
        with pytest.raises(httpx.HTTPError):
            await Tenant(http, acme.headers)(method, path, body)
    assert await dying.ended() == -signal.SIGKILL, dying.log.read_text()


@pytest.mark.parametrize("action", ["cancel", "retry"])
async def test_who_acted_on_many_is_known_though_the_process_died(
    start: Start, launch: Any, server: SmtpServer, action: str
) -> None:
    """What was asked, and at which message it was; the next request goes on from there."""
    acme = await (await start(delivery=False)).tenant()
    await acme.profile("main", server.port)
    messages = await schedule_messages(acme, 4)
    if action == "retry":
        for message in messages:
            await acme("POST", f"/messages/{message}/cancel")
    body = {"action": action, "filter": {"tag": "x"}, "dry_run": False}
    await dies(launch, action, acme, "POST", "/messages/actions", body)
    assert await line(acme, f"messages.{action}") == {
        "filter": {"tag": "x"},
        "matched": 4,
        "done": 2,
        "skipped": {},
        "last": messages[1],
        "finished": False,
    }
    done = (await acme("POST", "/messages/actions", body | {"cursor": messages[1]})).json()
    assert done["done"] == 2
    log = (await acme.read(f"/audit-log?action=messages.{action}"))["items"]
    changes = {name: change["after"] for name, change in log[0]["changes"].items()}
    assert (changes["cursor"], changes["finished"], changes["done"]) == (messages[1], True, 2)


async def test_who_erased_is_known_though_the_process_died(
    start: Start, launch: Any, server: SmtpServer
) -> None:
    """In how many messages it was done; asked once more, it is finished."""
    acme = await (await start(delivery=False)).tenant()
    await acme.profile("main", server.port)
    await schedule_messages(acme, 2)
    await dies(launch, "erase", acme, "DELETE", f"/recipients/{ANN}", None)
    counts = {"erased": 2, "sending": 0, "uncertain": 0}
    assert await line(acme, "recipient.erase") == counts | {"finished": False}


async def test_who_purged_is_known_though_the_process_died(start: Start, launch: Any) -> None:
    """At the command line there was no line at all."""
    heloise = await start(delivery=False)
    await heloise.tenant()
    dying: Process = launch("purge", "purge", module=dying_service.__name__)
    assert await dying.ended() == -signal.SIGKILL
    changes = await line(heloise.admin, "purge")
    assert (changes["messages"], changes["finished"]) == (0, False)
