"""Define the JSON of events, as in lists and in webhooks."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from pydantic import Field

from app.api.http.fields import (
    KEY_ID,
    REQUEST_ID,
    SOURCE,
    TRACE_ID,
    Instant,
    ResponseModel,
    Text,
)
from app.api.http.pagination import MAX_CURSOR_CHARACTERS, Paging
from app.domain.events import Event, EventType, build_payload
from app.domain.types import MessageSource, RecipientKind, RecipientStatus

EXAMPLE: Final[dict[str, Any]] = {
    "id": "evt_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "type": "recipient.bounced",
    "timestamp": "2026-01-15T09:30:02.415212Z",
    "ordering_key": "msg_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "data": {
        "profile": {"id": "prf_0198c5a2d3f07b6e8a4c1d2e3f405162", "name": "transactional"},
        "message": {
            "id": "msg_0198c5a2d3f07b6e8a4c1d2e3f405162",
            "message_id_header": "<0198c5a2d3f07b6e8a4c1d2e3f405162@example.com>",
            "tags": ["receipt"],
            "metadata": {"order": "42"},
            "source": "api",
            "key_id": "key_0198c5a2d3f07b6e8a4c1d2e3f405162",
            "request_id": "req_0198c5a2d3f07b6e8a4c1d2e3f405162",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
        },
        "recipient": {
            "address": "ann@example.org",
            "name": "",
            "kind": "to",
            "status": "bounced",
            "attempts": 1,
            "next_attempt_at": None,
            "sent_to": None,
            "last_reply": {
                "code": 550,
                "enhanced_code": "5.1.1",
                "text": "No such user here",
                "classification": "recipient_rejected",
            },
        },
        "webhook": None,
        "mailbox": None,
        "code": None,
        "reason": None,
    },
}


class EventProfile(ResponseModel):
    """The profile that the event is about, or that of the message."""

    id: str
    name: str


class EventMessage(ResponseModel):
    """The message that the event is about."""

    id: str
    message_id_header: str
    tags: list[str]
    metadata: dict[str, str]
    source: MessageSource | None = Field(description=SOURCE)
    key_id: str | None = Field(description=KEY_ID)
    request_id: str | None = Field(description=REQUEST_ID)
    trace_id: str | None = Field(description=TRACE_ID)


class EventReply(ResponseModel):
    """The server's reply."""

    code: int | None
    enhanced_code: str | None
    text: str | None
    classification: str | None


class EventRecipient(ResponseModel):
    """The recipient that the event is about. After an erasure, `address` is empty."""

    address: str
    name: str
    kind: RecipientKind
    status: RecipientStatus = Field(
        description="The status that the event set. For reports, the current status."
    )
    attempts: int
    next_attempt_at: datetime | None
    sent_to: str | None
    last_reply: EventReply | None


class EventData(ResponseModel):
    """What the event is about. Fields are null if they do not apply or no longer exist."""

    profile: EventProfile | None
    message: EventMessage | None
    recipient: EventRecipient | None
    webhook: str | None = Field(description="The id of the webhook that the event is about.")
    mailbox: str | None = Field(description="The id of the mailbox that the event is about.")
    code: str | None = Field(description="A stable code of why the profile fails.")
    reason: str | None = Field(description="A sentence that explains the event.")


class EventRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """An event."""

    id: str = Field(description="The same in every list and in every delivery to webhooks.")
    type: EventType
    timestamp: datetime
    ordering_key: str = Field(
        description="Events with the same key arrive in the order in which they happened."
    )
    data: EventData

    @classmethod
    def of(cls, event: Event) -> Self:
        return cls.model_validate(build_payload(event))


class EventPage(ResponseModel):
    """A page of events, in the order of the request."""

    items: list[EventRead]
    next_cursor: str | None = Field(
        description="Send it as `cursor` to get later events, now or at any time. With"
        " `order=desc`: to get older events; null on the last page, otherwise never."
    )


class EventQuery(Paging):
    """Filters. An event must match all of them."""

    cursor: str | None = Field(
        default=None,
        max_length=MAX_CURSOR_CHARACTERS,
        description="The `next_cursor` of the previous page. Default: the oldest stored event.",
    )
    type: list[Text] = Field(
        default_factory=list,
        max_length=20,
        description="Only these types. `*` matches any: `recipient.*`.",
        examples=[["recipient.*"]],
    )
    profile: Text | None = Field(
        default=None, description="Only events of this profile, by id or name."
    )
    message: Text | None = Field(
        default=None, max_length=64, description="Only events of this message."
    )
    created_after: Instant | None = Field(default=None, description="Only events later than this.")


class Order(StrEnum):
    """The order of a list."""

    ASC = "asc"
    DESC = "desc"


class EventListQuery(EventQuery):
    """Filters, paging and order of events."""

    cursor: str | None = Field(
        default=None,
        max_length=MAX_CURSOR_CHARACTERS,
        description="The `next_cursor` of the previous page, which had the same `order`. Default:"
        " the first event in that order.",
    )
    order: Order = Field(
        default=Order.ASC,
        description="`asc`: as they happened, to read every event once. `desc`: newest first.",
    )
