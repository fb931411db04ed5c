"""Write the model's results as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from benchmarks.machine import ROOT
from benchmarks.markdown import format_number
from benchmarks.scale.measure import Point
from benchmarks.scale.model import (
    DEFAULT_DAYS,
    SHORT_DAYS,
    Assumptions,
    Costs,
    Plan,
    find_limits,
    make_plan,
)

PAGE: Final = ROOT / "docs" / "operations" / "scale.md"
VOLUMES: Final = {"10⁶ a day": 1e6, "10⁸ a day": 1e8, "10⁹ a day": 1e9}
UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")


def build_page(machine: Mapping[str, str], costs: Costs, points: Sequence[Point]) -> str:
    """Build the page's generated part."""
    return "\n".join(_lines(machine, costs, points)) + "\n"


def _lines(machine: Mapping[str, str], costs: Costs, points: Sequence[Point]) -> Iterator[str]:
    assumed = Assumptions()
    yield "### What one message costs\n"
    yield from _table(("", "measured"), _describe_costs(costs))
    yield "\n### What a number of messages takes\n"
    default = [make_plan(volume, costs, DEFAULT_DAYS, assumed) for volume in VOLUMES.values()]
    short = [make_plan(volume, costs, SHORT_DAYS, assumed) for volume in VOLUMES.values()]
    yield from _table(("", *VOLUMES), _describe_plans(default, short))
    yield "\n### Where one cluster ends\n"
    limits = [find_limits(costs, days, assumed) for days in (DEFAULT_DAYS, SHORT_DAYS)]
    yield from _table(
        ("resource of a cluster", "limit", "messages a day", "with short retention"),
        (
            (name, limit, *(f"{found[name] / 1e6:,.0f} million" for found in limits))
            for name, limit in _describe_limits(assumed).items()
        ),
    )
    yield "\n### The model and two measurements\n"
    yield from _table(
        ("for each message", "model", "measured", "error"),
        (
            (
                point.name,
                f"{format_number(point.model)} {point.unit}",
                f"{format_number(point.measured)} {point.unit}",
                f"{point.error:+.0%}",
            )
            for point in points
        ),
    )
    yield "\nMeasured on:\n"
    yield from (f"- {name}: {value}" for name, value in machine.items())


def _describe_costs(costs: Costs) -> Iterator[tuple[str, str]]:
    yield "processor time of the API", f"{costs.api_us:,.0f} µs"
    yield "processor time of the worker", f"{costs.worker_us:,.0f} µs"
    yield "processor time of PostgreSQL", f"{costs.database_us:,.0f} µs"
    yield "WAL", _format_bytes(costs.wal_bytes)
    for part, size in costs.table_bytes.items():
        yield f"tables and indexes: {part}", _format_bytes(size)
    yield "memory of a connection to PostgreSQL", _format_bytes(costs.connection_bytes)
    yield "planning a list, for each partition", f"{costs.partition_us:,.0f} µs"


def _describe_plans(default: Sequence[Plan], short: Sequence[Plan]) -> Iterator[tuple[str, ...]]:
    def row(name: str, *values: object) -> tuple[str, ...]:
        return name, *map(str, values)

    def sizes(name: str, field: str, plans: Sequence[Plan] = default) -> tuple[str, ...]:
        return row(name, *(_format_bytes(getattr(plan, field)) for plan in plans))

    yield row("messages a second, mean", *(format_number(plan.mean_per_second) for plan in default))
    yield row("messages a second, peak", *(format_number(plan.peak_per_second) for plan in default))
    yield row("API processes", *(plan.api_processes for plan in default))
    yield row("workers", *(plan.workers for plan in default))
    yield row("SMTP connections", *(f"{plan.smtp_connections:,}" for plan in default))
    yield row(
        "processors of PostgreSQL", *(format_number(plan.database_processors) for plan in default)
    )
    yield row("connections to PostgreSQL", *(f"{plan.database_connections:,}" for plan in default))
    yield sizes("memory of these connections", "connection_memory_bytes")
    yield sizes("WAL a second, peak", "wal_bytes_per_second")
    yield sizes("WAL a day", "wal_bytes_per_day")
    yield sizes("growth of the tables a day", "table_bytes_per_day")
    yield sizes("tables, default retention", "stored_bytes")
    yield sizes("tables, short retention", "stored_bytes", short)
    for name, plans in (("default", default), ("short", short)):
        yield row(
            f"partitions of each table, {name} retention",
            *(f"{plan.partitions} (list: {plan.list_planning_ms:.1f} ms)" for plan in plans),
        )
    for name, plans in (("default", default), ("short", short)):
        yield row(f"**cells, {name} retention**", *map(_describe_cells, plans))


def _describe_cells(plan: Plan) -> str:
    if plan.cell_count == 1:
        return "1"
    most = max(plan.cells, key=lambda name: plan.cells[name])
    return f"{plan.cell_count} ({most})"


def _describe_limits(assumed: Assumptions) -> dict[str, str]:
    return {
        "processors": f"{assumed.processors}, used to {assumed.utilization:.0%} at the peak",
        "connections": f"{assumed.connections:,}, without pgbouncer",
        "WAL": f"{_format_bytes(assumed.wal_bytes_per_second)} a second at the peak",
        "disk": _format_bytes(assumed.disk_bytes),
    }


def _table(heading: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield "|---|" + "---:|" * (len(heading) - 1)
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _format_bytes(size: float) -> str:
    unit = UNITS[0]
    for unit in UNITS:  # noqa: B007 - the unit of the last step
        if size < 1000:
            break
        size /= 1000
    return f"{format_number(size)} {unit}"
