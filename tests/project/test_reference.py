"""docs/reference says what the code says."""

import re

import pytest

from app.domain.events import EventType
from benchmarks.markdown import BEGIN, END
from tests.project.reference import COMMAND, FOLDER, TABLES, text


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_what_the_code_says(name: str) -> None:
    """Problems and classifications, between their marks."""
    page, by = TABLES[name][0], f"{COMMAND} {name}"
    table = f"{BEGIN.format(by)}\n{text(name)}{END.format(by)}"
    assert table in (FOLDER / page).read_text(), f"{page} is out of date. Run: {COMMAND}"


def test_every_event_is_described_once() -> None:
    """In the table, and no other."""
    described = re.findall(r"^\| `([\w.]+)` \|", (FOLDER / "events.md").read_text(), re.MULTILINE)
    assert sorted(described) == sorted(EventType)
