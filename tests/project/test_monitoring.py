"""The page about metrics, the rules and the dashboard know what the code counts."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.metrics.definitions import DATABASE_GAUGES, PROCESS_GAUGES, ProcessSeries
from app.metrics.series import Counter, Gauge, Histogram, Series
from tests.support.terminal import ROOT

PAGE = (ROOT / "docs/operations/monitor.md").read_text()
FOLDER = ROOT / "deploy/monitoring"
RULES = yaml.safe_load((FOLDER / "rules.yml").read_text())
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
METRICS = [*DATABASE_GAUGES, *ProcessSeries().all, *PROCESS_GAUGES]
TYPES = {Counter: "counter", Histogram: "histogram", Gauge: "gauge"}


def describe(metric: Series) -> tuple[str, str, tuple[str, ...]]:
    """Name, type and labels."""
    return metric.name, TYPES[type(metric)], metric.labels


def list_metrics() -> list[tuple[str, str, tuple[str, ...]]]:
    """What the tables of the page say."""
    rows = re.findall(r"^\| `(heloise_\w+)` \| (\w+) \| (.*?) \|", PAGE, re.MULTILINE)
    return [(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows]


def test_the_page_lists_each_metric_with_its_type_and_labels() -> None:
    """In two tables: those of the installation, and those of a process."""
    assert sorted(list_metrics()) == sorted(map(describe, METRICS))


def test_the_page_lists_the_metrics_that_can_name_a_profile() -> None:
    """Those that HELOISE_METRICS_BY labels."""
    section = PAGE.partition("### By tenant and profile")[2].partition("## ")[0]
    grouped = {metric.name for metric in METRICS if metric.is_grouped}
    assert set(re.findall(r"`(heloise_\w+)`", section)) == grouped


def test_the_names_follow_prometheus_conventions() -> None:
    """Counters end with `_total`, and histograms with their unit, which is a base unit."""
    for series in ProcessSeries().all:
        suffix = "_total" if isinstance(series, Counter) else ("_seconds", "_messages")
        assert series.name.endswith(suffix)


def rules() -> Iterator[dict[str, Any]]:
    """Alerts and recordings."""
    for group in RULES["groups"]:
        yield from group["rules"]


def dashboard_queries() -> list[str]:
    """What the panels ask for, with the dashboard's variables filled in."""
    expressions = [
        target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
    ]
    return [
        expression.replace("$job", "heloise").replace("$__rate_interval", "1m")
        for expression in expressions
    ]


def samples() -> dict[str, set[str]]:
    """The labels of each sample that a process exposes."""
    labels_by_sample: dict[str, set[str]] = {}
    for metric in METRICS:
        labels = {*metric.labels, "job", "instance"}
        labels |= {"tenant", "profile"} if metric.is_grouped else set()
        if isinstance(metric, Histogram):
            labels_by_sample |= {f"{metric.name}_{end}": labels for end in ("count", "sum")}
            labels_by_sample[f"{metric.name}_bucket"] = labels | {"le"}
        else:
            labels_by_sample[metric.name] = labels
    return labels_by_sample


@pytest.mark.parametrize("query", [*(rule["expr"] for rule in rules()), *dashboard_queries()])
def test_each_query_names_metrics_and_labels_that_exist(query: str) -> None:
    """Rules and panels alike; a recording must be recorded."""
    labels_by_sample = samples()
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    assert set(re.findall(r"heloise:\w+:\w+", query)) <= recorded
    for name, matchers in re.findall(r"\b(heloise_\w+)(?:\{(.*?)\})?", query):
        assert name in labels_by_sample
        assert set(re.findall(r"(\w+)(?:=~|!=|=)\"", matchers)) <= labels_by_sample[name]
    others = set(re.findall(r"\b(?:process_\w+|up)\b(?=\{)", query))
    assert others <= {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}


def test_the_dashboard_shows_each_metric() -> None:
    """Once at least."""
    names = set(re.findall(r"heloise_\w+", " ".join(dashboard_queries())))
    histograms = {metric.name for metric in METRICS if isinstance(metric, Histogram)}
    missing = {metric.name for metric in METRICS} - names
    assert missing <= histograms
    assert all(any(name.startswith(metric) for name in names) for metric in histograms)


def test_the_page_explains_each_alert() -> None:
    """Under its name."""
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert set(re.findall(r"^\| \[`(Heloise\w+)`\]", PAGE, re.MULTILINE)) == alerts


def promtool(*words: str, folder: Path = FOLDER) -> None:
    """Run promtool; skips where Prometheus is not installed."""
    if (path := shutil.which("promtool")) is None:
        pytest.skip("Prometheus is not installed")
    result = subprocess.run(  # noqa: S603 - Debian's
        [path, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.prometheus
def test_prometheus_accepts_configuration_and_rules() -> None:
    """By its own tool."""
    promtool("check", "config", "prometheus.yml")


@pytest.mark.prometheus
def test_each_alert_fires_for_its_fault_and_not_without() -> None:
    """As `rules_test.yml` says, which tests every alert."""
    promtool("test", "rules", "rules_test.yml")
    tested = (FOLDER / "rules_test.yml").read_text()
    assert all(f'alertname="{rule["alert"]}"' in tested for rule in rules() if "alert" in rule)


@pytest.mark.prometheus
def test_prometheus_can_read_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    """Its tool reads them as recordings."""
    group = [
        {"record": f"panel:{number}", "expr": query}
        for number, query in enumerate(dashboard_queries())
    ]
    document = {"groups": [{"name": "panels", "rules": group}]}
    (tmp_path / "panels.yml").write_text(yaml.safe_dump(document))
    promtool("check", "rules", "panels.yml", folder=tmp_path)
