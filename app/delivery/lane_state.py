"""The states of a lane: a table of transitions, and one function that applies it.

Theory of operation
===================

A lane delivers one profile's messages. They reach it in two ways: the scheduler claims them from
the database, and the API hands them over in memory as it accepts them. A profile fails when its
server refuses the connection, the EHLO name or the credentials. Its messages then wait, and from
time to time one of them, the probe, tests whether the fault is over (invariant 6).

A lane starts as `CLAIMING`: its messages come from the database. When a poll finds the profile
sound and nothing due, the lane becomes `DIRECT`: accepted messages may be handed over in memory.
When a poll finds due messages, these go first, so the lane becomes `CLAIMING` again.

A fault moves the lane from any state to `HALTED`. It begins nothing there, because the database,
and so every other worker, does not know of the fault yet. Once the fault is recorded, the lane is
`FAILED`, and the database decides what it may claim. That is one probe first: the lane is `PROBING`
and takes nothing else. If the probe meets the fault again, the lane is `HALTED` as before. If not,
the lane is `FAILED` until a poll finds the profile sound.

Three facts shape the table:

- Several sessions may meet a fault at once, and each is recorded. So `FAULT_RECORDED` can reach a
  lane in any state. It ends `DIRECT`, because the database said "failing" in the meantime.
- A lane learns of another worker's fault by a poll (`POLLED_BLOCKED`, as of a pause or a deletion).
  So a lane can probe without having failed.
- A poll reads the database while the lane works, so what it reads may be older than the lane's last
  event. It notes the machine's `version` before it reads, and applies its result only if the
  version is still the same. In `HALTED` and `PROBING` the lane knows better than the database.

The picture in docs/contributing/lane-states.md is made from the table.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class LaneState(StrEnum):
    """What a lane may do."""

    CLAIMING = "claiming"
    DIRECT = "direct"
    HALTED = "halted"
    FAILED = "failed"
    PROBING = "probing"


class LaneEvent(StrEnum):
    """What happens to a lane."""

    # A poll found the profile sound, and nothing due.
    POLLED_EMPTY = "polled empty"
    # A poll found the profile sound, and messages due.
    POLLED_DUE = "polled due"
    # A poll found the profile failing, paused or deleted.
    POLLED_BLOCKED = "polled blocked"
    # A session met a fault of the profile.
    FAULT = "fault"
    # The transaction that holds the fault was committed.
    FAULT_RECORDED = "fault recorded"
    PROBE_CLAIMED = "probe claimed"
    # The probe was settled without a fault, or given back.
    PROBE_ENDED = "probe ended"


S, E = LaneState, LaneEvent

TRANSITIONS: Final[Mapping[LaneState, Mapping[LaneEvent, LaneState]]] = {
    S.CLAIMING: {
        E.POLLED_EMPTY: S.DIRECT,
        E.POLLED_DUE: S.CLAIMING,
        E.POLLED_BLOCKED: S.CLAIMING,
        E.FAULT: S.HALTED,
        E.FAULT_RECORDED: S.CLAIMING,
        E.PROBE_CLAIMED: S.PROBING,
    },
    S.DIRECT: {
        E.POLLED_EMPTY: S.DIRECT,
        E.POLLED_DUE: S.CLAIMING,
        E.POLLED_BLOCKED: S.CLAIMING,
        E.FAULT: S.HALTED,
        E.FAULT_RECORDED: S.CLAIMING,
    },
    S.HALTED: {
        E.POLLED_EMPTY: S.HALTED,
        E.POLLED_DUE: S.HALTED,
        E.POLLED_BLOCKED: S.HALTED,
        E.FAULT: S.HALTED,
        E.FAULT_RECORDED: S.FAILED,
    },
    S.FAILED: {
        E.POLLED_EMPTY: S.DIRECT,
        E.POLLED_DUE: S.CLAIMING,
        E.POLLED_BLOCKED: S.FAILED,
        E.FAULT: S.HALTED,
        E.FAULT_RECORDED: S.FAILED,
        E.PROBE_CLAIMED: S.PROBING,
    },
    S.PROBING: {
        E.POLLED_EMPTY: S.PROBING,
        E.POLLED_DUE: S.PROBING,
        E.POLLED_BLOCKED: S.PROBING,
        E.FAULT: S.HALTED,
        E.FAULT_RECORDED: S.PROBING,
        E.PROBE_ENDED: S.FAILED,
    },
}

# The states in which a lane claims messages from the database.
MAY_CLAIM: Final = frozenset({S.CLAIMING, S.DIRECT, S.FAILED})
# The states in which a lane starts messages it reserved room for. Only `DIRECT` reserves room.
MAY_TAKE_ACCEPTED: Final = frozenset({S.CLAIMING, S.DIRECT})


class IllegalLaneTransitionError(Exception):
    """An event met a state that has no such transition; nothing was changed."""


def next_state(state: LaneState, event: LaneEvent) -> LaneState:
    """Return the state after `event`; raise IllegalLaneTransitionError if there is none."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalLaneTransitionError(f"no {event!r} in a lane that is {state}") from None


class LaneMachine:
    """The state of one lane; `version` counts the events it has met."""

    def __init__(self) -> None:
        self.state = LaneState.CLAIMING
        self.version = 0

    def apply(self, event: LaneEvent) -> None:
        self.state = next_state(self.state, event)
        self.version += 1
