"""The state tables: every pair of status and event (invariant 4)."""

from itertools import product
from typing import Final

import pytest

from app.domain.delivery.status import (
    FINAL,
    TO_SEND,
    TRANSITIONS,
    IllegalTransitionError,
    RecipientEvent,
    message_status,
    next_status,
)
from app.domain.types import MessageStatus, RecipientStatus

E, M, R = RecipientEvent, MessageStatus, RecipientStatus

OPEN: Final = {
    E.DELIVER: R.SENT,
    E.DEFER: R.DEFERRED,
    E.BOUNCE: R.BOUNCED,
    E.EXPIRE: R.EXPIRED,
    E.CANCEL: R.CANCELLED,
    E.SUPPRESS: R.SUPPRESSED,
    E.MARK: R.UNCERTAIN,
}
EXPECTED: Final = {
    R.QUEUED: OPEN,
    R.DEFERRED: OPEN,
    R.UNCERTAIN: {
        E.DELIVER: R.SENT,
        E.DEFER: R.DEFERRED,
        E.BOUNCE: R.BOUNCED,
        E.REQUEUE: R.QUEUED,
    },
}


@pytest.mark.parametrize(("status", "event"), [*product(R, E)])
def test_every_pair_of_status_and_event_is_a_step_or_refused(
    status: RecipientStatus, event: RecipientEvent
) -> None:
    """A final status is left by no event; `sending` is shown, never stored."""
    expected = EXPECTED.get(status, {}).get(event)
    if expected is not None:
        assert next_status(status, event) is expected
        return
    with pytest.raises(IllegalTransitionError, match=f"{event} cannot happen"):
        next_status(status, event)


def test_a_refused_step_changes_nothing() -> None:
    """The table is data, and stays as it is."""
    before = {status: dict(steps) for status, steps in TRANSITIONS.items()}
    with pytest.raises(IllegalTransitionError):
        next_status(R.SENT, E.BOUNCE)
    assert before == TRANSITIONS


def test_final_and_unfinished_statuses_are_apart_and_all_there_are() -> None:
    """But for those that are shown only, and what waits for somebody to decide."""
    assert FINAL.isdisjoint(TO_SEND)
    assert set(R) == FINAL | TO_SEND | {R.SENDING, R.UNCERTAIN}
    assert set(TRANSITIONS) == TO_SEND | {R.UNCERTAIN}


def test_every_status_leads_to_an_end() -> None:
    """No recipient can be kept from its one final status."""
    for steps in TRANSITIONS.values():
        assert FINAL & set(steps.values())


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([R.SENT], M.SENT),
        ([R.SENT, R.SENT], M.SENT),
        ([R.SENT, R.BOUNCED], M.PARTIALLY_SENT),
        ([R.SENT, R.EXPIRED], M.PARTIALLY_SENT),
        ([R.SENT, R.CANCELLED], M.PARTIALLY_SENT),
        ([R.SENT, R.SUPPRESSED], M.PARTIALLY_SENT),
        ([R.BOUNCED], M.FAILED),
        ([R.EXPIRED, R.BOUNCED], M.FAILED),
        ([R.SUPPRESSED], M.FAILED),
        ([R.CANCELLED, R.BOUNCED], M.FAILED),
        ([R.CANCELLED], M.CANCELLED),
        ([R.CANCELLED, R.CANCELLED], M.CANCELLED),
        ([R.UNCERTAIN], M.HELD),
        ([R.UNCERTAIN, R.SENT], M.HELD),
        ([R.UNCERTAIN, R.BOUNCED, R.CANCELLED], M.HELD),
        ([R.QUEUED], None),
        ([R.DEFERRED, R.SENT], None),
        ([R.QUEUED, R.UNCERTAIN], None),
        ([R.DEFERRED, R.BOUNCED, R.CANCELLED], None),
    ],
)
def test_a_messages_status_is_its_recipients(
    statuses: list[RecipientStatus], expected: MessageStatus | None
) -> None:
    """None while one of them is still to be sent; their order does not count."""
    assert message_status(statuses) is expected
    assert message_status(reversed(statuses)) is expected
