"""`python -m benchmarks.horizon`: throughput beside a transaction that holds vacuum back.

A snapshot stays open on a new PostgreSQL database, so no dead row can be removed. Prints the
throughput and the CPU time of PostgreSQL per message for each part of the time, first without the
snapshot and then with it: a queue whose dead rows cost something becomes slower from part to part.
There are two ways to delivery:

- `handed-over`: one process accepts and delivers as fast as it can, without a claim.
- `claimed`: one process accepts at a steady rate, and another claims, delivers and settles.

Names of ways as arguments choose among them. `HELOISE_BENCH_SECONDS` sets the time (180),
`HELOISE_BENCH_PARTS` the number of parts (6), `HELOISE_BENCH_RATE` the messages a second (800).
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
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
RATE: Final = float(os.environ.get("HELOISE_BENCH_RATE", "800"))
MESSAGES: Final = 500
# Small enough that acceptance is steady.
PACED_SECONDS: Final = 0.2
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


# Accepts and delivers messages until a time by `time.monotonic`; answers how many.
Work = Callable[[float], Awaitable[int]]


async def measure(work: Work, observer: Observer, name: str) -> None:
    """Print a row of the table for each part of the time."""
    await observer.cpu_seconds()
    first = 0.0
    for part in range(1, PARTS + 1):
        started_at = time.monotonic()
        messages = await work(started_at + SECONDS / PARTS)
        per_second = messages / (time.monotonic() - started_at)
        first = first or per_second
        cpu_us = await observer.cpu_seconds() / messages * 1e6
        dead_rows = await observer.dead_rows()
        print(
            f"| {name} | {part} | {per_second:.0f} | {per_second / first:.2f} | {cpu_us:.0f} |"
            f" {dead_rows:,} |",
            flush=True,
        )


def deliver_fast(served: Served, counts: Counts) -> Work:
    """Accept a batch, wait until it is settled, and begin again."""

    async def work(until: float) -> int:
        messages = 0
        while time.monotonic() < until:
            counts.reset()
            await asyncio.to_thread(served.accept, MESSAGES, connections=CONNECTIONS)
            await asyncio.to_thread(served.wait_settled, counts, MESSAGES)
            messages += MESSAGES
        return messages

    return work


def deliver_paced(served: Served, counts: Counts) -> Work:
    """Accept at a steady rate, or as fast as the machine does; answers what has arrived."""

    async def work(until: float) -> int:
        before, turn_at = counts.messages, time.monotonic()
        while turn_at < until:
            batch = round(RATE * PACED_SECONDS)
            await asyncio.to_thread(served.accept, batch, connections=CONNECTIONS)
            turn_at = max(turn_at + PACED_SECONDS, time.monotonic())
            await asyncio.sleep(turn_at - time.monotonic())
        return counts.messages - before

    return work


async def run(service: TrialService, work: Work, name: str) -> None:
    """Measure without a snapshot, then with one."""
    url = make_url(service.database_url).render_as_string(hide_password=False)
    async with AsyncExitStack() as stack:
        connection = await asyncpg.connect(url)
        stack.push_async_callback(connection.close)
        observer = Observer(connection)
        await measure(work, observer, f"{name}, no snapshot")
        await stack.enter_async_context(hold_snapshot(url))
        await measure(work, observer, f"{name}, a snapshot is open")


def main() -> None:
    """Print a table."""
    with (
        tempfile.TemporaryDirectory(prefix="heloise-bench-") as folder,
        new_databases(None) as new,
        running_sink() as (port, counts),
    ):
        if new is None:
            raise SystemExit(NO_POSTGRESQL)
        print("| | part | messages/s | of the first | PostgreSQL µs/message | dead rows |")
        print("|---|---:|---:|---:|---:|---:|")
        for name in sys.argv[1:] or ("handed-over", "claimed"):
            with ExitStack() as stack:
                measure_way(name, TrialService(Path(folder), new()), port, counts, stack)


def measure_way(
    name: str, service: TrialService, port: int, counts: Counts, stack: ExitStack
) -> None:
    """Print the rows of one way to delivery."""
    service.prepare(smtp_port=port)
    is_claimed = name == "claimed"
    served = stack.enter_context(service.serving(*["--no-delivery"] * is_claimed))
    if is_claimed:
        stack.enter_context(service.working())
    counts.reset()
    served.accept(WARM_UP, connections=CONNECTIONS)
    served.wait_settled(counts, WARM_UP)
    work = deliver_paced(served, counts) if is_claimed else deliver_fast(served, counts)
    asyncio.run(run(service, work, name))


if __name__ == "__main__":
    main()
