"""The model of scale multiplies correctly, and its page shows what was measured last."""

from dataclasses import replace

import pytest

from benchmarks.markdown import BEGIN, END
from benchmarks.scale.__main__ import COMMAND, load_page
from benchmarks.scale.measure import Point
from benchmarks.scale.model import Assumptions, Costs, find_limits, make_plan
from benchmarks.scale.page import PAGE

COSTS = Costs(
    api_us=1_000,
    worker_us=2_000,
    database_us=500,
    wal_bytes=10_000,
    table_bytes={"content": 4_000, "records": 1_000},
    connection_bytes=5_000_000,
    partition_us=20,
)
DAYS = {"content": 10, "records": 70}
ASSUMED = Assumptions(
    peak_factor=2,
    utilization=0.5,
    server_seconds=0.5,
    connections_per_worker=100,
    pool_size=2,
    processors=10,
    wal_bytes_per_second=40_000_000,
    disk_bytes=1e12,
    connections=500,
)
A_DAY = 86_400_000  # 1,000 messages a second, 2,000 at the peak


def test_a_plan_multiplies_costs_by_messages() -> None:
    """Round numbers make each product visible."""
    plan = make_plan(A_DAY, COSTS, DAYS, ASSUMED)
    assert (plan.mean_per_second, plan.peak_per_second) == (1_000, 2_000)
    assert plan.api_processes == 4  # 2,000 messages of 1 ms use 2 processors, at 50 %
    assert plan.workers == 10  # 8 for their processors, 10 for 1,000 connections
    assert plan.smtp_connections == 1_000
    assert plan.database_processors == 2
    assert plan.database_connections == 14 * 5
    assert plan.connection_memory_bytes == 350_000_000
    assert plan.wal_bytes_per_second == 20_000_000
    assert plan.wal_bytes_per_day == 864e9
    assert plan.table_bytes_per_day == 432e9
    assert plan.stored_bytes == A_DAY * (4_000 * 10 + 1_000 * 70)
    assert (plan.partitions, plan.list_planning_ms) == (10, 0.2)


def test_cells_are_as_many_as_the_scarcest_resource_asks_for() -> None:
    """Here the disk: 9.5 TB in clusters of 1 TB."""
    plan = make_plan(A_DAY, COSTS, DAYS, ASSUMED)
    assert plan.cells == {"processors": 1, "connections": 1, "WAL": 1, "disk": 10}
    assert plan.cell_count == 10
    assert make_plan(1, COSTS, DAYS, ASSUMED).cell_count == 1


@pytest.mark.parametrize(
    ("resource", "messages_per_day"),
    [
        ("processors", 10 * A_DAY / 2),  # 10,000 messages of 0.5 ms at the peak
        ("WAL", 2 * A_DAY),  # 4,000 messages of 10 kB at the peak
        ("connections", 100 / 12 * A_DAY),  # 100 processes, of which 1,000 a second take 12
        ("disk", 1e12 / 110_000),
    ],
)
def test_a_cluster_ends_where_a_resource_does(resource: str, messages_per_day: float) -> None:
    """Twice the resource lasts for twice the messages."""
    limits = find_limits(COSTS, DAYS, ASSUMED)
    assert limits[resource] == pytest.approx(messages_per_day)
    plan = make_plan(limits[resource] * 0.999, COSTS, DAYS, ASSUMED)
    assert plan.cells[resource] == 1
    plan = make_plan(limits[resource] * 1.001, COSTS, DAYS, ASSUMED)
    assert plan.cells[resource] == 2


def test_a_higher_peak_takes_more_processes_and_no_more_disk() -> None:
    """The tables grow with the day, the processes with its busiest second."""
    calm, busy = (
        make_plan(A_DAY, COSTS, DAYS, replace(ASSUMED, peak_factor=factor)) for factor in (2, 4)
    )
    assert busy.api_processes == 2 * calm.api_processes
    assert busy.wal_bytes_per_second == 2 * calm.wal_bytes_per_second
    assert busy.stored_bytes == calm.stored_bytes


def test_an_error_is_a_share_of_the_measurement() -> None:
    """A model that is too high has a positive error."""
    assert Point("x", "µs", model=120, measured=100).error == pytest.approx(0.2)


def test_the_page_shows_what_was_measured_last() -> None:
    """`--docs` writes it; it has the two points that the model is checked against."""
    page = PAGE.read_text()
    written = page.partition(BEGIN.format(COMMAND))[2].partition(END.format(COMMAND))[0]
    assert written.strip() == load_page().strip()
    assert "| one process: " in written
    assert "| two of each: " in written
