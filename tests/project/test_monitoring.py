"""The page about metrics lists what the code counts."""

import re

from app.metrics.definitions import DATABASE_GAUGES, PROCESS_GAUGES, ProcessSeries
from app.metrics.series import Counter, Gauge, Histogram, Series
from tests.support.terminal import ROOT

PAGE = (ROOT / "docs/operations/monitor.md").read_text()
TYPES = {Counter: "counter", Histogram: "histogram", Gauge: "gauge"}


def describe(metric: Series | Gauge) -> tuple[str, str, tuple[str, ...]]:
    """Name, type and labels."""
    return metric.name, TYPES[type(metric)], metric.labels


def listed() -> list[tuple[str, str, tuple[str, ...]]]:
    """What the tables of the page say."""
    rows = re.findall(r"^\| `(heloise_\w+)` \| (\w+) \| (.*?) \|", PAGE, re.MULTILINE)
    return [(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows]


def test_the_page_lists_each_metric_with_its_type_and_labels() -> None:
    """In two tables: those of the installation, and those of a process."""
    metrics = [*DATABASE_GAUGES, *ProcessSeries().all, *PROCESS_GAUGES]
    assert sorted(listed()) == sorted(map(describe, metrics))


def test_the_page_lists_the_metrics_that_can_name_a_profile() -> None:
    """Those that HELOISE_METRICS_BY labels."""
    section = PAGE.partition("### By tenant and profile")[2].partition("## ")[0]
    metrics = [*DATABASE_GAUGES, *ProcessSeries().all, *PROCESS_GAUGES]
    grouped = {metric.name for metric in metrics if metric.is_grouped}
    assert set(re.findall(r"`(heloise_\w+)`", section)) == grouped


def test_the_names_follow_prometheus_conventions() -> None:
    """Counters end with `_total`, and histograms with their unit, which is a base unit."""
    for series in ProcessSeries().all:
        suffix = "_total" if isinstance(series, Counter) else ("_seconds", "_messages")
        assert series.name.endswith(suffix)
