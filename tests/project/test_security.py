"""docs/operations/security.md names tests that there are."""

import pytest

from tests.project.pages import is_a_test, rows
from tests.support.terminal import ROOT

PAGE = (ROOT / "docs" / "operations" / "security.md").read_text()
ROWS = rows(PAGE, "threat")


def test_every_threat_of_the_list_has_a_row() -> None:
    """OWASP API1 to API10."""
    named = {row[0].split()[0].rstrip(",") for row in ROWS}
    assert {f"API{number}" for number in range(1, 11)} <= named
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:40] for row in ROWS])
def test_each_row_names_a_test_that_there_is(row: list[str]) -> None:
    """By its file and name."""
    threat, keeps, test = row
    assert threat
    assert keeps
    assert is_a_test(test)
