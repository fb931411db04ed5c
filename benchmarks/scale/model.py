"""Compute what a number of messages a day takes, from the measured cost of one message.

Every cost is proportional to the messages, so the model is a product for each resource. A cluster
is one PostgreSQL server with its standbys; a cell is a cluster with the processes that use it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SECONDS_PER_DAY: Final = 86_400
DAYS_PER_PARTITION: Final = 7
MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What was measured: for each message, database connection and partition.

    Processor times are microseconds. `table_bytes` is by the part of a message that retention
    deletes together, with indexes.
    """

    api_us: float
    worker_us: float
    database_us: float
    wal_bytes: float
    table_bytes: Mapping[str, float]
    connection_bytes: float
    partition_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What the model supposes, where nothing was measured.

    The last four are the limits of one cluster.
    """

    peak_factor: float = 4  # the busiest second of a day over its mean
    utilization: float = 0.6  # of a processor at the peak
    server_seconds: float = 0.5  # that a message occupies an SMTP connection
    connections_per_worker: int = 2_000
    pool_size: int = 5
    processors: int = 32
    wal_bytes_per_second: float = 200e6  # what standbys follow and an archive takes
    disk_bytes: float = 10e12  # what is restored within hours
    connections: int = 1_000

    @property
    def connections_per_process(self) -> int:
        """Connections that a process opens to the database at most."""
        return 2 * self.pool_size + 1


# Days that each part is kept: the defaults, and what a large installation may choose.
DEFAULT_DAYS: Final[Mapping[str, int]] = {
    "content": 30,
    "events": 30,
    "transcripts": 7,
    "records": 365,
}
SHORT_DAYS: Final[Mapping[str, int]] = {
    "content": 3,
    "events": 7,
    "transcripts": 1,
    "records": 30,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a number of messages a day takes; `cells` by the resource that asks for them."""

    messages_per_day: float
    mean_per_second: float
    peak_per_second: float
    api_processes: int
    workers: int
    smtp_connections: int
    database_processors: float
    database_connections: int
    connection_memory_bytes: float
    wal_bytes_per_second: float
    wal_bytes_per_day: float
    table_bytes_per_day: float
    stored_bytes: float
    partitions: int
    list_planning_ms: float
    cells: Mapping[str, int]

    @property
    def cell_count(self) -> int:
        """The number of cells that satisfies each resource."""
        return max(self.cells.values())


def make_plan(
    messages_per_day: float,
    costs: Costs,
    days: Mapping[str, int],
    assumed: Assumptions = Assumptions(),
) -> Plan:
    """Compute a plan for a retention of so many days."""
    mean = messages_per_day / SECONDS_PER_DAY
    peak = mean * assumed.peak_factor
    smtp_connections = math.ceil(peak * assumed.server_seconds)
    api_processes = _count_processors(peak, costs.api_us, assumed)
    workers = max(
        _count_processors(peak, costs.worker_us, assumed),
        math.ceil(smtp_connections / assumed.connections_per_worker),
    )
    connections = (api_processes + workers) * assumed.connections_per_process
    partitions = math.ceil(max(days.values()) / DAYS_PER_PARTITION)
    cells = {
        name: max(1, math.ceil(messages_per_day / limit))
        for name, limit in find_limits(costs, days, assumed).items()
    }
    return Plan(
        messages_per_day=messages_per_day,
        mean_per_second=mean,
        peak_per_second=peak,
        api_processes=api_processes,
        workers=workers,
        smtp_connections=smtp_connections,
        database_processors=peak * costs.database_us / MICROSECONDS / assumed.utilization,
        database_connections=connections,
        connection_memory_bytes=connections * costs.connection_bytes,
        wal_bytes_per_second=peak * costs.wal_bytes,
        wal_bytes_per_day=messages_per_day * costs.wal_bytes,
        table_bytes_per_day=messages_per_day * sum(costs.table_bytes.values()),
        stored_bytes=messages_per_day * count_kept_bytes(costs, days),
        partitions=partitions,
        list_planning_ms=partitions * costs.partition_us / 1000,
        cells=cells,
    )


def _count_processors(peak_per_second: float, us: float, assumed: Assumptions) -> int:
    """Count processes that use one processor each."""
    return max(1, math.ceil(peak_per_second * us / MICROSECONDS / assumed.utilization))


def count_kept_bytes(costs: Costs, days: Mapping[str, int]) -> float:
    """Add up what a message a day occupies once retention deletes as much as arrives."""
    return sum(size * days[part] for part, size in costs.table_bytes.items())


def find_limits(costs: Costs, days: Mapping[str, int], assumed: Assumptions) -> dict[str, float]:
    """Compute for each resource of a cluster the messages a day at which it ends."""
    peak_seconds = SECONDS_PER_DAY / assumed.peak_factor  # in which a day's messages would come
    processors = (costs.api_us + costs.worker_us) / MICROSECONDS / assumed.utilization
    return {
        "processors": assumed.processors
        * assumed.utilization
        / (costs.database_us / MICROSECONDS)
        * peak_seconds,
        "connections": assumed.connections
        / (assumed.connections_per_process * processors)
        * peak_seconds,
        "WAL": assumed.wal_bytes_per_second / costs.wal_bytes * peak_seconds,
        "disk": assumed.disk_bytes / count_kept_bytes(costs, days),
    }
