"""docs/contributing/lane-states.md says what the state table of lanes says."""

import re

from app.delivery.lane_state import TRANSITIONS, LaneEvent, LaneState
from tests.project.pages import rows, state_diagram
from tests.support.terminal import ROOT

PAGE = (ROOT / "docs" / "contributing" / "lane-states.md").read_text()


def test_the_diagram_is_the_state_table() -> None:
    """Every state and transition, and no other; a failure shows the lines to paste."""
    [drawn] = re.findall(r"```mermaid\n(.*?)\n```", PAGE, re.DOTALL)
    expected = "\n".join(state_diagram(LaneState.CLAIMING, TRANSITIONS))
    assert drawn == expected, expected


def test_each_state_and_event_is_explained() -> None:
    """In a table of its own."""
    explained = [cells[0].strip("`") for cells in rows(PAGE, "state")]
    assert explained == [*LaneState, "event", *LaneEvent]
