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
    # The durable mark of `at_most_once`, before the body is sent; or `heloise hold`.
    MARK = "mark"
    # A caller has found out that the message was never sent.
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
# Expiry and cancellation do not tell what the server accepted: recipients stay uncertain.
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
OPEN_STATUSES: Final = (
    MessageStatus.SCHEDULED,
    MessageStatus.QUEUED,
    MessageStatus.SENDING,
    MessageStatus.HELD,
)


class IllegalTransitionError(Exception):
    """The table has no such step for the status; nothing was changed."""


def next_status(status: RecipientStatus, event: RecipientEvent) -> RecipientStatus:
    """Return the status after `event`; raise IllegalTransitionError if there is none."""
    try:
        return TRANSITIONS[status][event]
    except KeyError:
        raise IllegalTransitionError(
            f"{event} cannot happen to a recipient that is {status}"
        ) from None


def message_status(statuses: Iterable[RecipientStatus]) -> MessageStatus | None:
    """Compute a message's status from its recipients'; None while one is open.

    All statuses but `held` are final; `held` waits for a caller to resolve uncertain recipients.
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
