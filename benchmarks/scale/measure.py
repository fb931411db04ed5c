"""Measure the costs of a message on a real PostgreSQL, and check the model at two other points.

The costs come from one API process and one worker. The points are set up otherwise, so the model
has not seen them: one process that accepts and delivers, and two of each with a longer run.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import asyncpg

from benchmarks.databases import execute, new_databases, postmaster_pid
from benchmarks.machine import facts, family_cpu_seconds
from benchmarks.scale.model import MICROSECONDS, Costs
from benchmarks.trial.processes import POLL_SECONDS, read
from benchmarks.trial.service import Served, TrialService
from benchmarks.trial.sink import Counts, running_sink

ROUNDS: Final = 2
CALIBRATION: Final = 2_000
POINTS: Final = (1_000, 4_000)
WARM_UP: Final = 300
CONNECTIONS: Final = 16
# The tables whose rows retention deletes before those of the message.
PARTS: Final[Mapping[str, str]] = {
    "message_contents": "content",
    "events": "events",
    "attempt_transcripts": "transcripts",
}
RECORDS: Final = "records"
TABLE_SIZES: Final = """
SELECT json_object_agg(relname, pg_total_relation_size(c.oid)) FROM pg_class c
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
WAL_POSITION: Final = "SELECT (pg_current_wal_insert_lsn() - '0/0')::float8"
BACKENDS: Final = """
SELECT string_agg(pid::text, ' ') FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'heloise-%'
"""
FEW, MANY = 2, 102
PLANNINGS: Final = 50


@dataclass(frozen=True, slots=True)
class Run:
    """What a message cost in a run: processor time by role in microseconds, and bytes."""

    us: Mapping[str, float]
    wal_bytes: float
    table_bytes: Mapping[str, float]
    connection_bytes: float


@dataclass(frozen=True, slots=True)
class Point:
    """A figure that the model predicts, and its measurement."""

    name: str
    unit: str
    model: float
    measured: float

    @property
    def error(self) -> float:
        """By how much the model is too high, as a share of the measurement."""
        return self.model / self.measured - 1


def measure(folder: Path, postgresql: str | None) -> tuple[Mapping[str, str], Costs, list[Point]]:
    """Measure costs and points; raise RuntimeError without a PostgreSQL of this machine."""
    small, large = POINTS
    settings = ((CALIBRATION, 1), (small, 0), (large, 2))
    with new_databases(postgresql) as new:
        if new is None:
            raise RuntimeError("there is no PostgreSQL server; name one with --postgresql")
        rounds = [
            [_run(folder, new(), messages, workers=workers) for messages, workers in settings]
            for _ in range(ROUNDS)
        ]
        partition_us = asyncio.run(_measure_partition(new()))
    run, one_process, two_of_each = map(_take_best, zip(*rounds, strict=True))
    costs = Costs(
        api_us=run.us["api"],
        worker_us=run.us["worker"],
        database_us=run.us["database"],
        wal_bytes=run.wal_bytes,
        table_bytes=run.table_bytes,
        connection_bytes=run.connection_bytes,
        partition_us=partition_us,
    )
    points = [
        *_compare("one process", costs, one_process),
        *_compare("two of each", costs, two_of_each),
    ]
    return facts(folder), costs, points


def _take_best(runs: Sequence[Run]) -> Run:
    """Take the least processor time of each role: other programs only add to it."""
    roles = runs[0].us
    return replace(runs[-1], us={role: min(run.us[role] for run in runs) for role in roles})


def _compare(name: str, costs: Costs, run: Run) -> Iterator[Point]:
    processors = costs.api_us + costs.worker_us
    own = sum(run.us.values()) - run.us["database"]
    yield Point(f"{name}: processor time of Heloise", "µs", processors, own)
    yield Point(
        f"{name}: processor time of PostgreSQL", "µs", costs.database_us, run.us["database"]
    )
    yield Point(f"{name}: WAL", "bytes", costs.wal_bytes, run.wal_bytes)
    tables = sum(costs.table_bytes.values()), sum(run.table_bytes.values())
    yield Point(f"{name}: tables", "bytes", *tables)


def _run(folder: Path, url: str, messages: int, *, workers: int) -> Run:
    """Let the service accept, deliver and settle messages; without workers, the API delivers."""
    database_pid = postmaster_pid(url)
    if database_pid is None:
        raise RuntimeError("PostgreSQL runs on another machine, so its processor time is unknown")
    with running_sink() as (port, counts), tempfile.TemporaryDirectory(dir=folder) as logs:
        service = TrialService(Path(logs), url)
        service.prepare(smtp_port=port)
        with _started(service, workers) as (served, own_pids):
            _deliver(served, counts, WARM_UP)
            # The first change of each page after a checkpoint puts the whole page into the WAL.
            execute(url, "CHECKPOINT")
            pids = {**own_pids, "database": [database_pid]}
            before = _observe(url, pids)
            _deliver(served, counts, messages)
            after = _observe(url, pids)
            memory = _measure_connection(url)
    sizes = _sum_parts(before.sizes, after.sizes)
    return Run(
        us={
            role: (after.seconds[role] - before.seconds[role]) / messages * MICROSECONDS
            for role in pids
        },
        wal_bytes=(after.wal - before.wal) / messages,
        table_bytes={part: size / messages for part, size in sizes.items()},
        connection_bytes=memory,
    )


@contextmanager
def _started(service: TrialService, workers: int) -> Iterator[tuple[Served, dict[str, list[int]]]]:
    """Start the processes, and wait until those that deliver are there."""
    words = ["--no-delivery"] if workers else []
    if workers > 1:
        words += ["--workers", str(workers)]
    with ExitStack() as stack:
        served = stack.enter_context(service.serving(*words))
        pids = {"api": [served.process.pid]}
        for number in range(workers):
            service.environment["HELOISE_WORKER_PORT"] = "0"
            worker = stack.enter_context(service.working())
            pids.setdefault("worker", []).append(worker.pid)
            while f"heloise_workers {number + 1}.0".encode() not in read(f"{served.url}/metrics"):
                time.sleep(POLL_SECONDS)
        yield served, pids


def _deliver(served: Served, counts: Counts, messages: int) -> None:
    counts.reset()
    served.accept(messages, connections=CONNECTIONS)
    served.wait_settled(counts, messages)


@dataclass(frozen=True, slots=True)
class _Observation:
    seconds: Mapping[str, float]
    wal: float
    sizes: Mapping[str, int]


def _observe(url: str, pids: Mapping[str, list[int]]) -> _Observation:
    return _Observation(
        seconds={role: sum(map(family_cpu_seconds, group)) for role, group in pids.items()},
        wal=execute(url, WAL_POSITION),
        sizes=json.loads(execute(url, TABLE_SIZES)),
    )


def _sum_parts(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Add up the growth of the tables by the part of the message that they hold."""
    parts = dict.fromkeys([*PARTS.values(), RECORDS], 0)
    for table, size in after.items():
        parts[PARTS.get(table, RECORDS)] += size - before.get(table, 0)
    return parts


def _measure_connection(url: str) -> float:
    """Measure the memory that a session of Heloise has for itself, on average."""
    pids = execute(url, BACKENDS).split()
    return sum(_private_bytes(pid) for pid in pids) / len(pids)


def _private_bytes(pid: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


async def _measure_partition(url: str) -> float:
    """Measure what a partition adds to planning a list that names none, in microseconds."""
    connection = await asyncpg.connect(url)
    try:
        few, many = [await _measure_planning(connection, count) for count in (FEW, MANY)]
    finally:
        await connection.close()
    return (many - few) / (MANY - FEW)


async def _measure_planning(connection: asyncpg.Connection, partitions: int) -> float:
    table = f"history_{partitions}"
    await connection.execute(
        f'CREATE TABLE {table} (id text COLLATE "C", tenant_id text, body text)'
        f" PARTITION BY RANGE (id); CREATE INDEX ON {table} (tenant_id, id)"
    )
    for number in range(partitions):
        await connection.execute(
            f"CREATE TABLE {table}_{number} PARTITION OF {table}"
            f" FOR VALUES FROM ('{number:06}') TO ('{number + 1:06}')"
        )
    query = f"SELECT * FROM {table} WHERE tenant_id = 'ten_1' ORDER BY id DESC LIMIT 50"  # noqa: S608 - a constant
    explain = f"EXPLAIN (SUMMARY, FORMAT JSON) {query}"
    plans = [json.loads(await connection.fetchval(explain)) for _ in range(PLANNINGS)]
    return min(plan[0]["Planning Time"] for plan in plans) * 1000
