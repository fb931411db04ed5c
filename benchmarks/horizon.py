"""`python -m benchmarks.horizon`: throughput beside a transaction that holds vacuum back.

A snapshot stays open on a new PostgreSQL database, so no dead row can be removed, while Heloise
accepts, delivers and settles messages as fast as it can. Prints the throughput and the CPU time of
PostgreSQL per message for each part of the time, first without the snapshot and then with it: a
queue whose dead rows cost something becomes slower from part to part. `HELOISE_BENCH_SECONDS` sets
the time (180), `HELOISE_BENCH_PARTS` the number of parts (6).
"""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
from sqlalchemy import make_url

from benchmarks.databases import new_databases
from benchmarks.heloise import CONNECTIONS, NO_POSTGRESQL, WARM_UP
from benchmarks.trial.service import Served, TrialService
from benchmarks.trial.sink import Counts, running_sink

SECONDS: Final = float(os.environ.get("HELOISE_BENCH_SECONDS", "180"))
PARTS: Final = int(os.environ.get("HELOISE_BENCH_PARTS", "6"))
MESSAGES: Final = 500
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
DEAD_ROWS: Final = "SELECT sum(n_dead_tup) FROM pg_stat_user_tables"
BACKENDS: Final = "SELECT pid FROM pg_stat_activity"


@asynccontextmanager
async def hold_snapshot(url: str) -> AsyncIterator[None]:
    """Keep a snapshot open, as a forgotten transaction or a long report does."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute("SELECT count(*) FROM messages")
            yield
    finally:
        await connection.close()


class Observer:
    """Reads what the server's processes cost, and how many dead rows it keeps."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._cpu_seconds: dict[int, float] = {}

    async def dead_rows(self) -> int:
        """The dead rows of all tables, by the server's estimate."""
        return int(await self._connection.fetchval(DEAD_ROWS) or 0)

    async def cpu_seconds(self) -> float:
        """The CPU time since the last call, of the processes that live at both."""
        pids = [row["pid"] for row in await self._connection.fetch(BACKENDS)]
        before = self._cpu_seconds
        self._cpu_seconds = {pid: _cpu_seconds(pid) for pid in pids}
        return sum(now - before.get(pid, now) for pid, now in self._cpu_seconds.items())


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


async def measure(served: Served, counts: Counts, observer: Observer, name: str) -> None:
    """Print a row of the table for each part of the time."""
    await observer.cpu_seconds()
    first = 0.0
    for part in range(1, PARTS + 1):
        started_at, messages = time.monotonic(), 0
        while time.monotonic() < started_at + SECONDS / PARTS:
            counts.reset()
            await asyncio.to_thread(served.accept, MESSAGES, connections=CONNECTIONS)
            await asyncio.to_thread(served.wait_settled, counts, MESSAGES)
            messages += MESSAGES
        per_second = messages / (time.monotonic() - started_at)
        first = first or per_second
        cpu_us = await observer.cpu_seconds() / messages * 1e6
        dead_rows = await observer.dead_rows()
        print(
            f"| {name} | {part} | {per_second:.0f} | {per_second / first:.2f} | {cpu_us:.0f} |"
            f" {dead_rows:,} |",
            flush=True,
        )


async def run(service: TrialService, served: Served, counts: Counts) -> None:
    """Measure without a snapshot, then with one."""
    url = make_url(service.database_url).render_as_string(hide_password=False)
    async with AsyncExitStack() as stack:
        connection = await asyncpg.connect(url)
        stack.push_async_callback(connection.close)
        observer = Observer(connection)
        await measure(served, counts, observer, "no snapshot")
        await stack.enter_async_context(hold_snapshot(url))
        await measure(served, counts, observer, "a snapshot is open")


def main() -> None:
    """Print a table."""
    with (
        tempfile.TemporaryDirectory(prefix="heloise-bench-") as folder,
        new_databases(None) as new,
        running_sink() as (port, counts),
    ):
        if new is None:
            raise SystemExit(NO_POSTGRESQL)
        service = TrialService(Path(folder), new())
        service.prepare(smtp_port=port)
        with service.serving() as served:
            counts.reset()
            served.accept(WARM_UP, connections=CONNECTIONS)
            served.wait_settled(counts, WARM_UP)
            print("| | part | messages/s | of the first | PostgreSQL µs/message | dead rows |")
            print("|---|---:|---:|---:|---:|---:|")
            asyncio.run(run(service, served, counts))


if __name__ == "__main__":
    main()
