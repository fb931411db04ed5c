"""Define event types and events.

An event is stored in the transaction of its change. Readers look up the message's details later, so
that events contain nothing that was erased.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final

from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.inbound.bounce_parser import ReportKind
from app.domain.trace_context import read_trace_id
from app.domain.types import (
    MessageSource,
    MessageStatus,
    NamedAddress,
    RecipientKind,
    RecipientStatus,
)


class EventType(StrEnum):
    """Types of events. Each begins with the kind of object that it is about."""

    MESSAGE_QUEUED = "message.queued"
    MESSAGE_SCHEDULED = "message.scheduled"
    MESSAGE_SENT = "message.sent"
    MESSAGE_PARTIALLY_SENT = "message.partially_sent"
    MESSAGE_FAILED = "message.failed"
    MESSAGE_CANCELLED = "message.cancelled"
    MESSAGE_HELD = "message.held"
    RECIPIENT_QUEUED = "recipient.queued"  # again, after a caller found that it was never sent
    RECIPIENT_SENT = "recipient.sent"
    RECIPIENT_DEFERRED = "recipient.deferred"
    RECIPIENT_BOUNCED = "recipient.bounced"
    RECIPIENT_EXPIRED = "recipient.expired"
    RECIPIENT_SUPPRESSED = "recipient.suppressed"
    RECIPIENT_CANCELLED = "recipient.cancelled"
    RECIPIENT_UNCERTAIN = "recipient.uncertain"
    # Reports that came back by mail; they do not change the recipient's status.
    RECIPIENT_DELIVERED = "recipient.delivered"
    RECIPIENT_DELAYED = "recipient.delayed"
    RECIPIENT_BOUNCED_LATER = "recipient.bounced_later"
    RECIPIENT_COMPLAINED = "recipient.complained"
    RECIPIENT_UNSUBSCRIBED = "recipient.unsubscribed"
    RECIPIENT_REPORTED = "recipient.reported"
    PROFILE_FAILING = "profile.failing"
    PROFILE_STALLED = "profile.stalled"
    PROFILE_RECOVERED = "profile.recovered"
    PROFILE_PAUSED = "profile.paused"
    PROFILE_RESUMED = "profile.resumed"
    WEBHOOK_DISABLED = "webhook.disabled"
    MAILBOX_MAIL_SKIPPED = "mailbox.mail_skipped"


def message_event_type(status: MessageStatus) -> EventType:
    """Return the event type for a message's new status."""
    return EventType(f"message.{status}")


def report_event_type(kind: ReportKind) -> EventType:
    """Return the event type for a report about a recipient."""
    return EventType(f"recipient.{kind}")


def recipient_event_type(status: RecipientStatus) -> EventType:
    """Return the event type for a recipient's new status."""
    return EventType(f"recipient.{status}")


@frozen_dataclass
class NewEvent:
    """An event to store.

    `position` is the recipient's in its message. `data` holds what readers cannot look up later: of
    a recipient `attempts`, `next_attempt_at`, `code`, `enhanced_code`, `text`, `classification`, of
    a profile `code` and `reason`, of a webhook `webhook` and `reason`, of a mailbox `mailbox` and
    `reason`; keys may be missing.
    """

    type: EventType
    at: datetime
    tenant_id: str
    profile_id: str | None
    message_id: str | None = None
    position: int | None = None
    data: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A position in the event log; nothing is ever inserted before a read position."""

    transaction_id: int
    number: int

    def __str__(self) -> str:
        return f"{self.transaction_id}.{self.number}"


FIRST_POSITION: Final = Position(-1, 0)


def parse_position(text: str) -> Position:
    """Parse a position as `str(Position)` writes it; raise ValueError."""
    transaction_id, number = map(int, text.split("."))
    if not (FIRST_POSITION.transaction_id <= transaction_id < 2**63 and 0 <= number < 2**63):
        raise ValueError("out of range")
    return Position(transaction_id, number)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMessage:
    """The message of an event."""

    id: str
    message_id_header: str
    tags: tuple[str, ...]
    metadata: Mapping[str, str]
    source: MessageSource | None
    key_id: str | None
    request_id: str | None
    traceparent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecipient:
    """The recipient of an event with its current status; erased ones have no address."""

    named_address: NamedAddress
    kind: RecipientKind
    status: RecipientStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A stored event with current details."""

    id: str
    position: Position
    type: EventType
    created_at: datetime
    profile_id: str | None
    profile_name: str | None
    message_id: str | None
    message: EventMessage | None
    recipient: EventRecipient | None
    data: Mapping[str, Any]

    @property
    def ordering_key(self) -> str:
        """Receivers get events with the same key in order."""
        return ordering_key(self.id, self.message_id, self.profile_id, self.data)


def ordering_key(
    event_id: str, message_id: str | None, profile_id: str | None, data: Mapping[str, Any] | None
) -> str:
    """Return what the event is about, as the key of its order."""
    data = data or {}
    return message_id or data.get("webhook") or data.get("mailbox") or profile_id or event_id


REPORT_EVENT_TYPES: Final = frozenset(map(report_event_type, ReportKind))
REPLY_KEYS: Final = ("code", "enhanced_code", "text", "classification")


def build_payload(event: Event) -> dict[str, Any]:
    """Build the JSON of an event; times are aware datetimes or RFC 3339 strings."""
    return {
        "id": event.id,
        "type": event.type.value,
        "timestamp": event.created_at,
        "ordering_key": event.ordering_key,
        "data": {
            "profile": event.profile_id
            and {"id": event.profile_id, "name": event.profile_name or ""},
            "message": event.message
            and {
                "id": event.message.id,
                "message_id_header": event.message.message_id_header,
                "tags": list(event.message.tags),
                "metadata": dict(event.message.metadata),
                "source": event.message.source,
                "key_id": event.message.key_id,
                "request_id": event.message.request_id,
                "trace_id": read_trace_id(event.message.traceparent),
            },
            "recipient": event.recipient and _describe_recipient(event, event.recipient),
            "webhook": event.data.get("webhook"),
            "mailbox": event.data.get("mailbox"),
            "code": None if event.recipient else event.data.get("code"),
            "reason": event.data.get("reason"),
        },
    }


def _describe_recipient(event: Event, recipient: EventRecipient) -> dict[str, Any]:
    reply = {key: event.data.get(key) for key in REPLY_KEYS}
    return {
        "address": recipient.named_address.address,
        "name": recipient.named_address.name,
        "kind": recipient.kind.value,
        "status": _get_status(event, recipient),
        "attempts": event.data.get("attempts", 0),
        "next_attempt_at": event.data.get("next_attempt_at"),
        "sent_to": event.data.get("sent_to"),
        "last_reply": reply if any(value is not None for value in reply.values()) else None,
    }


def _get_status(event: Event, recipient: EventRecipient) -> str:
    """Return the status at the event; reports leave it as it is."""
    if event.type in REPORT_EVENT_TYPES:
        return recipient.status.value
    return event.type.value.partition(".")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Selects events that match all non-empty conditions.

    `types` are names of events, with `*` as wildcard: `recipient.*`. `profiles` are ids.
    `first_deferral_only` drops all but the first `recipient.deferred` of each recipient.
    """

    types: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    first_deferral_only: bool = False

    def matches(self, type: str, profile_id: str | None, tags: Sequence[str]) -> bool:  # noqa: A002 - the noun is that of the API
        """Whether an event matches, except for `first_deferral_only`."""
        return (
            (not self.types or any(fnmatchcase(type, pattern) for pattern in self.types))
            and (not self.profiles or profile_id in self.profiles)
            and (not self.tags or not set(self.tags).isdisjoint(tags))
        )


def find_matching_types(patterns: Sequence[str]) -> list[str]:
    """Return the types that match any pattern; raise ValueError for an unmatched pattern."""
    for pattern in patterns:
        if not any(fnmatchcase(event_type, pattern) for event_type in EventType):
            names = ", ".join(EventType)
            raise ValueError(
                f"{pattern!r} is not an event type; write one of {names}, or message.* for all"
            )
    return [
        event_type.value
        for event_type in EventType
        if any(fnmatchcase(event_type, p) for p in patterns)
    ]
