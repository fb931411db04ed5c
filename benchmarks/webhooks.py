"""`python -m benchmarks.webhooks`: how long an event takes to a webhook, beside dead ones.

A tenant's events are timed from the request that makes one to its post, first alone, then while
another tenant has webhooks that never answer and a backlog for them. The ratio within one run is
what counts. Databases are made where TMPDIR says, and on the PostgreSQL that the tests bring.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

from app.domain.events import EventType, NewEvent
from app.store import events
from app.store.db.database import Database
from benchmarks.databases import new_databases
from benchmarks.heloise import database_urls
from benchmarks.rounds import Absent
from benchmarks.setting import QUICK, Setting
from benchmarks.trial.service import NAME, Served, TrialService

DEAD: Final = int(os.environ.get("HELOISE_BENCH_DEAD_WEBHOOKS", "50"))
BACKLOG: Final = int(os.environ.get("HELOISE_BENCH_EVENTS", "144000"))
AT_ONCE: Final = 1000
TIMES: Final = 40
REST_SECONDS: Final = 0.25
WITHIN_SECONDS: Final = 120.0
UNUSED_PORT: Final = 9  # of a profile that sends nothing


class Receiver:
    """Serves on loopback: takes each post and notes when, or never answers."""

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers
        self.taken = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Its URL."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # What still hangs at the end is cancelled, which is no fault.
        with suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            self.taken.set()
            if self._answers:
                writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                await writer.drain()
            else:
                await reader.read()
        writer.close()


async def p50_seconds(http: httpx.AsyncClient, receiver: Receiver) -> float:
    """From a request to the post of its event, the median."""
    took: list[float] = []
    for number in range(TIMES):
        await asyncio.sleep(REST_SECONDS)
        receiver.taken.clear()
        started_seconds = time.monotonic()
        await request(http, f"/profiles/{NAME}/{'resume' if number % 2 else 'pause'}")
        async with asyncio.timeout(WITHIN_SECONDS):
            await receiver.taken.wait()
        took.append(time.monotonic() - started_seconds)
    return statistics.median(took)


async def request(http: httpx.AsyncClient, path: str, body: Any = None) -> Any:  # noqa: ANN401 - as JSON is
    """What a POST answers."""
    return (await http.post(path, json=body)).raise_for_status().json()


async def measure(served: Served, admin_key: str, database_url: str) -> tuple[float, float]:
    """The median alone, and beside the dead webhooks."""
    live, dead = Receiver(answers=True), Receiver(answers=False)
    base: dict[str, Any] = {"base_url": served.url, "timeout": 60}
    async with (
        live.running() as live_url,
        dead.running() as dead_url,
        httpx.AsyncClient(headers=served.headers, **base) as http,
        httpx.AsyncClient(headers={"Authorization": f"Bearer {admin_key}"}, **base) as admin,
    ):
        await request(http, "/webhooks", {"name": "live", "url": live_url})
        await asyncio.sleep(6)  # the first webhook of a service is noticed by a slow poll
        alone = await p50_seconds(http, live)
        tenant = await request(admin, "/tenants", {"slug": "dead"})
        body = {"name": "dead", "scopes": ["webhooks:manage"]}
        key = await request(admin, f"/tenants/{tenant['id']}/keys", body)
        headers = {"Authorization": f"Bearer {key['key']}"}
        async with httpx.AsyncClient(headers=headers, **base) as theirs:
            for number in range(DEAD):
                await request(theirs, "/webhooks", {"name": f"dead-{number}", "url": dead_url})
        await write_backlog(database_url, tenant["id"])
        await dead.taken.wait()
        return alone, await p50_seconds(http, live)


async def write_backlog(database_url: str, tenant_id: str) -> None:
    """Write events of the tenant, as if so much had happened to it."""
    database = Database(database_url, pool_size=1)
    happened = NewEvent(EventType.PROFILE_PAUSED, datetime.now(UTC), tenant_id, None)
    for _ in range(BACKLOG // AT_ONCE):
        async with database.transaction() as connection:
            await events.append(connection, [happened] * AT_ONCE)
    await database.close()


def main() -> None:
    """Print a table."""
    print(f"p50 to a webhook; {DEAD} dead webhooks and {BACKLOG} events of another tenant")
    print("\n| | alone | beside them | ratio |\n|---|---:|---:|---:|")
    with (
        tempfile.TemporaryDirectory(prefix="heloise-bench-") as folder,
        new_databases(None) as new,
    ):
        setting = Setting(folder=Path(folder), size=QUICK, new_postgresql=new)
        for database_url in database_urls(setting):
            if isinstance(database_url, Absent):
                print(f"{database_url.name}: {database_url.reason}", file=sys.stderr)
                continue
            name, url = database_url
            service = TrialService(setting.folder, url)
            service.prepare(smtp_port=UNUSED_PORT)
            with ExitStack() as stack:
                trial = stack.enter_context(service.serving())
                admin_key = service.environment["HELOISE_ADMIN_KEY"]
                alone, beside = asyncio.run(measure(trial, admin_key, url))
            print(f"| {name} | {alone:.2f} s | {beside:.2f} s | {beside / alone:.2f} |", flush=True)


if __name__ == "__main__":
    main()
