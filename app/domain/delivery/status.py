"""State tables: allowed status changes, and a message's status from its recipients."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from app.domain.types import MessageStatus, RecipientStatus

R = RecipientStatus


class RecipientEvent(StrEnum):
    """What can happen to a recipient that is not finished."""

    DELIVER = "deliver"
    DEFER = "defer"
    BOUNCE = "bounce"
    EXPIRE = "expire"
    CANCEL = "cancel"
    SUPPRESS = "suppress"
    # The durable mark of `at_most_once`: the body is about to go out, the outcome is not known yet.
    MARK = "mark"
    # A person or a program has found out that it was never sent.
    REQUEUE = "requeue"


_OPEN: Final[Mapping[RecipientEvent, RecipientStatus]] = {
    RecipientEvent.DELIVER: R.SENT,
    RecipientEvent.DEFER: R.DEFERRED,
    RecipientEvent.BOUNCE: R.BOUNCED,
    RecipientEvent.EXPIRE: R.EXPIRED,
    RecipientEvent.CANCEL: R.CANCELLED,
    RecipientEvent.SUPPRESS: R.SUPPRESSED,
    RecipientEvent.MARK: R.UNCERTAIN,
}
# Time and cancellation say nothing about what the server took, so they leave it uncertain.
_UNCERTAIN: Final[Mapping[RecipientEvent, RecipientStatus]] = {
    RecipientEvent.DELIVER: R.SENT,
    RecipientEvent.DEFER: R.DEFERRED,
    RecipientEvent.BOUNCE: R.BOUNCED,
    RecipientEvent.REQUEUE: R.QUEUED,
}

TRANSITIONS: Final[Mapping[RecipientStatus, Mapping[RecipientEvent, RecipientStatus]]] = {
    R.QUEUED: _OPEN,
    R.DEFERRED: _OPEN,
    R.UNCERTAIN: _UNCERTAIN,
}

FINAL: Final = frozenset({R.SENT, R.BOUNCED, R.EXPIRED, R.SUPPRESSED, R.CANCELLED})
TO_SEND: Final = frozenset({R.QUEUED, R.DEFERRED})


class IllegalTransitionError(Exception):
    """An event met a status that knows no such step; nothing was changed."""


def next_status(status: RecipientStatus, event: RecipientEvent) -> RecipientStatus:
    """The status after `event`. Raises IllegalTransitionError where the table has no such step."""
    try:
        return TRANSITIONS[status][event]
    except KeyError:
        raise IllegalTransitionError(
            f"{event} cannot happen to a recipient that is {status}"
        ) from None


def message_status(statuses: Iterable[RecipientStatus]) -> MessageStatus | None:
    """A message's status from its recipients', or None while one of them is still to be sent.

    It is final but for `held`, which waits for somebody to resolve what is uncertain.
    """
    distinct_statuses = set(statuses)
    if distinct_statuses & TO_SEND:
        return None
    if R.UNCERTAIN in distinct_statuses:
        return MessageStatus.HELD
    if distinct_statuses == {R.SENT}:
        return MessageStatus.SENT
    if R.SENT in distinct_statuses:
        return MessageStatus.PARTIALLY_SENT
    if distinct_statuses == {R.CANCELLED}:
        return MessageStatus.CANCELLED
    return MessageStatus.FAILED
