"""docs/operations/reliability.md says what the tests and the state tables say."""

import re

import pytest

from app.domain.delivery.status import FINAL, TRANSITIONS
from app.domain.types import RecipientStatus
from tests.project.pages import is_a_test, rows, state_diagram
from tests.support.terminal import ROOT

PAGE = (ROOT / "docs" / "operations" / "reliability.md").read_text()
ROWS = rows(PAGE, "fault")


def test_the_diagram_is_the_state_table() -> None:
    """Every status and step of it, and no other."""
    [drawn] = re.findall(r"```mermaid\n(.*?)\n```", PAGE, re.DOTALL)
    ends = [f"    {status} --> [*]" for status in RecipientStatus if status in FINAL]
    assert drawn.splitlines() == [*state_diagram(RecipientStatus.QUEUED, TRANSITIONS), *ends]


def test_there_are_rows() -> None:
    """Else none of them would be checked."""
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:40] for row in ROWS])
def test_each_row_names_a_test_that_there_is(row: list[str]) -> None:
    """With the fault, what happens and how long; by its file and name."""
    assert len(row) == 4
    assert all(row)
    assert is_a_test(row[-1])
