"""The pages for operators name what there is: alerts, reasons, settings, tests, sections."""

import re
from pathlib import Path

import pytest
import yaml

from app.domain.delivery.waiting import WaitReason
from app.settings.model import Settings
from tests.project.pages import is_a_test, tables
from tests.support.terminal import ROOT

FOLDER = ROOT / "docs" / "operations"
RUNBOOK = (FOLDER / "runbook.md").read_text()
CAPACITY = (FOLDER / "capacity.md").read_text()
RULES = yaml.safe_load((ROOT / "deploy/monitoring/rules.yml").read_text())
ALERTS = {
    rule["alert"]: rule["annotations"]
    for group in RULES["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "decisions" not in path.parts)


def anchors(page: str) -> set[str]:
    """The anchors of the headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def column(page: str, *heading: str) -> set[str]:
    """The words in backticks in the first column of the table with this heading."""
    rows = [
        table
        for table in tables(re.sub(r"^ +", "", page, flags=re.MULTILINE))
        if table[0] == [*heading]
    ]
    [[_, *cells]] = rows
    return {word for row in cells for word in re.findall(r"`(\w+)`", row[0])}


def test_each_alert_has_an_entry_in_the_runbook() -> None:
    """And each such entry an alert, which links to it."""
    entries = re.findall(r"^### (Heloise\w+)$", RUNBOOK, re.MULTILINE)
    assert sorted(entries) == sorted(ALERTS)
    for name, annotations in ALERTS.items():
        assert annotations["runbook_url"] == f"docs/operations/runbook.md#{name.lower()}"
    assert {name.lower() for name in ALERTS} <= anchors(RUNBOOK)


def test_the_runbook_knows_each_reason_to_wait() -> None:
    """What to do for each."""
    assert column(RUNBOOK, "reason", "what to do") == {*WaitReason}


def test_the_runbook_knows_each_fault_of_the_database() -> None:
    """Those that the alert counts."""
    [monitored] = re.findall(
        r"^\| `heloise_database_errors_total` .*$",
        (FOLDER / "monitor.md").read_text(),
        re.MULTILINE,
    )
    kinds = set(re.findall(r"`(\w+)`", monitored)) - {"heloise_database_errors_total", "kind"}
    assert column(RUNBOOK, "kind", "what to do") == kinds - {"rolled_back"}


def test_the_connections_are_those_that_a_process_opens() -> None:
    """The pool, once more if it is short, and the one that listens."""
    connections = 2 * Settings.model_fields["database_pool_size"].default + 1
    assert f"{connections} by default" in CAPACITY
    rows = re.findall(r"^\| ((?:\d+ \w+(?:, )?)+) \| (\d+)", CAPACITY, re.MULTILINE)
    assert len(rows) == 3
    for processes, total in rows:
        count = sum(map(int, re.findall(r"\d+", processes)))
        assert int(total) == count * connections


def test_the_disk_is_kept_as_long_as_the_settings_say() -> None:
    """By default."""
    rows = re.findall(r"\| HELOISE_(\w+), (\d+) days \|", CAPACITY)
    assert len(rows) == 4
    for name, days in rows:
        assert Settings.model_fields[name.lower()].default == int(days)


@pytest.mark.parametrize("name", ["upgrade.md"])
def test_each_promise_names_a_test_that_there_is(name: str) -> None:
    """In the last column."""
    [promises] = [table for table in tables((FOLDER / name).read_text()) if "test" in table[0]]
    cells = [row[-1] for row in promises[1:] if row[-1]]
    assert len(cells) > 3
    assert all(map(is_a_test, cells))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_each_link_leads_to_a_section(path: Path) -> None:
    """Of this page, or of another one."""
    for target, anchor in re.findall(r"\]\((?!http)([^)#\s]*)#([^)\s]+)\)", path.read_text()):
        other = path if not target else path.parent / target
        if other.suffix == ".md":
            assert anchor in anchors(other.read_text()), f"{target}#{anchor}"
