"""Name Heloise's events as Resend does, for webhooks in its format.

Resend's `email.sent` means that the request was accepted, and `email.delivered` that the next
server took the message. So these are the names of `message.queued` and `recipient.sent`.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from app.domain.events import EventType

RESEND_TYPES: Final[Mapping[EventType, str]] = {
    EventType.MESSAGE_QUEUED: "email.sent",
    EventType.MESSAGE_SCHEDULED: "email.scheduled",
    EventType.RECIPIENT_SENT: "email.delivered",
    EventType.RECIPIENT_DEFERRED: "email.delivery_delayed",
    EventType.RECIPIENT_DELAYED: "email.delivery_delayed",
    EventType.RECIPIENT_BOUNCED: "email.bounced",
    EventType.RECIPIENT_BOUNCED_LATER: "email.bounced",
    EventType.RECIPIENT_EXPIRED: "email.failed",
    EventType.RECIPIENT_SUPPRESSED: "email.suppressed",
    EventType.RECIPIENT_COMPLAINED: "email.complained",
}
# A webhook may name these, so that programs need no change; Heloise has no such events.
NEVER_POSTED: Final = (
    *("email.opened", "email.clicked", "email.received"),
    *("contact.created", "contact.updated", "contact.deleted", "contact.topics.updated"),
    *("domain.created", "domain.updated", "domain.deleted"),
    *("suppression.added", "suppression.removed"),
    *("topic.created", "topic.updated", "topic.deleted"),
)


def find_types(names: Iterable[str]) -> list[EventType]:
    """Return the event types with these names; raise ValueError for an unknown name."""
    distinct_names = set(names)
    posted = dict.fromkeys(RESEND_TYPES.values())
    if unknown := sorted(distinct_names - posted.keys() - set(NEVER_POSTED)):
        raise ValueError(f"{unknown[0]!r} is not an event; write some of {', '.join(posted)}")
    types = [event_type for event_type, name in RESEND_TYPES.items() if name in distinct_names]
    if not types:
        raise ValueError(f"Heloise posts none of these; write some of {', '.join(posted)}")
    return types


def list_names(types: Iterable[str]) -> list[str]:
    """Return Resend's names of event types, each once."""
    distinct_types = set(types)
    return list(
        dict.fromkeys(name for kind, name in RESEND_TYPES.items() if kind in distinct_types)
    )
