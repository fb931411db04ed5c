"""The state machine of a lane, pair by pair."""

import pytest

from app.delivery.lane_state import (
    IllegalLaneTransitionError,
    LaneEvent,
    LaneMachine,
    LaneState,
    next_state,
)

# "-": the event cannot happen in that state.
EXPECTED = """
event          | claiming | direct   | halted | failed   | probing
polled empty   | direct   | direct   | halted | direct   | probing
polled due     | claiming | claiming | halted | claiming | probing
polled blocked | claiming | claiming | halted | failed   | probing
fault          | halted   | halted   | halted | halted   | halted
fault recorded | claiming | claiming | failed | failed   | probing
probe claimed  | probing  | -        | -      | probing  | -
probe ended    | -        | -        | -      | -        | failed
"""
HEAD, *LINES = [
    [cell.strip() for cell in line.split("|")] for line in EXPECTED.strip().splitlines()
]
PAIRS = [
    (LaneState(state), LaneEvent(line[0]), expected)
    for line in LINES
    for state, expected in zip(HEAD[1:], line[1:], strict=True)
]


def test_every_pair_is_tested() -> None:
    """Each state with each event, once."""
    assert len(PAIRS) == len(LaneState) * len(LaneEvent)
    assert {pair[:2] for pair in PAIRS} == {(s, e) for s in LaneState for e in LaneEvent}


@pytest.mark.parametrize(("state", "event", "expected"), PAIRS)
def test_each_pair_of_state_and_event(state: LaneState, event: LaneEvent, expected: str) -> None:
    """It leads to one state, or it is refused and changes nothing."""
    machine = LaneMachine()
    machine.state = state
    if expected == "-":
        with pytest.raises(IllegalLaneTransitionError, match=event):
            machine.apply(event)
        assert (machine.state, machine.version) == (state, 0)
    else:
        machine.apply(event)
        assert machine.state is next_state(state, event) is LaneState(expected)
        assert machine.version == 1
