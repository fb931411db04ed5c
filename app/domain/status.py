"""The state tables: which status may follow which, and a message's status from its recipients'."""

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


_OPEN: Final[Mapping[RecipientEvent, RecipientStatus]] = {
    RecipientEvent.DELIVER: R.SENT,
    RecipientEvent.DEFER: R.DEFERRED,
    RecipientEvent.BOUNCE: R.BOUNCED,
    RecipientEvent.EXPIRE: R.EXPIRED,
    RecipientEvent.CANCEL: R.CANCELLED,
}

TRANSITIONS: Final[Mapping[RecipientStatus, Mapping[RecipientEvent, RecipientStatus]]] = {
    R.QUEUED: _OPEN,
    R.DEFERRED: _OPEN,
}

FINAL: Final = frozenset({R.SENT, R.BOUNCED, R.EXPIRED, R.SUPPRESSED, R.CANCELLED})


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
    """A message's final status from its recipients', or None while one of them is unfinished."""
    found = set(statuses)
    if not found <= FINAL:
        return None
    if found == {R.SENT}:
        return MessageStatus.SENT
    if R.SENT in found:
        return MessageStatus.PARTIALLY_SENT
    if found == {R.CANCELLED}:
        return MessageStatus.CANCELLED
    return MessageStatus.FAILED
