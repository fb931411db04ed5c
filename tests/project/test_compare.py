"""docs/guide/compare.md promises nothing that no test shows."""

import pytest

from tests.project.pages import is_a_test, rows
from tests.support.terminal import ROOT

PAGE = (ROOT / "docs" / "guide" / "compare.md").read_text()
ROWS = rows(PAGE, "to")


def test_nothing_is_yet_to_come() -> None:
    """A row is there once it is done."""
    assert len(ROWS) > 30
    for word in ("planned", "soon", "roadmap", "later version"):
        assert word not in PAGE.lower()


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:40] for row in ROWS])
def test_each_row_names_a_test_that_there_is(row: list[str]) -> None:
    """By its file and name."""
    what, elsewhere, here, test = row
    assert all((what, elsewhere, here))
    assert is_a_test(test)
