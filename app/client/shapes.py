"""Define the types of responses; /docs has every field."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, TypedDict, TypeVar

Item = TypeVar("Item")
Address = str | Mapping[str, str]
RecipientStatus = Literal[
    "queued",
    "sending",
    "deferred",
    "sent",
    "bounced",
    "expired",
    "suppressed",
    "cancelled",
    "uncertain",
]
MessageStatus = Literal[
    "scheduled", "queued", "sending", "sent", "partially_sent", "failed", "cancelled", "held"
]
MessageSource = Literal["api", "smtp", "resend", "cli"]


class Reply(TypedDict):
    """The last reply of an SMTP server."""

    code: int | None
    enhanced_code: str | None
    text: str | None
    classification: str | None


class Report(TypedDict):
    """A bounce or complaint that arrived by mail after sending."""

    kind: str
    code: str | None
    text: str | None
    at: str


class Waiting(TypedDict):
    """Why a message or a recipient waits. `until` is when Heloise tries next."""

    reason: Literal[
        "scheduled",
        "profile_paused",
        "no_worker",
        "profile_failing",
        "backoff",
        "quota",
        "rate_limited",
        "in_turn",
    ]
    code: str | None
    detail: str
    until: str | None


class Recipient(TypedDict):
    """A recipient and its status. `address` is null once it is erased."""

    address: str | None
    name: str
    kind: Literal["to", "cc", "bcc"]
    status: RecipientStatus
    attempts: int
    next_attempt_at: str | None
    last_reply: Reply | None
    sent_to: str | None
    report: Report | None
    waiting: Waiting | None


Message = TypedDict(
    "Message",
    {
        "id": str,
        "status": MessageStatus,
        "profile": str,
        "profile_id": str,
        "from": str,
        "subject": str | None,
        "recipients": list[Recipient],
        "message_id_header": str,
        "size_bytes": int,
        "tags": list[str],
        "metadata": dict[str, str],
        "priority": str,
        "guarantee": str,
        "sensitive": bool,
        "content_wiped_at": str | None,
        "created_at": str,
        "send_at": str | None,
        "expires_at": str,
        "updated_at": str,
        "finished_at": str | None,
        "retry_of": str | None,
        "source": MessageSource | None,
        "key_id": str | None,
        "waiting": Waiting | None,
    },
)


class Result(TypedDict):
    """The result of one message of a batch: `message` or `problem`."""

    status: int
    message: Message | None
    problem: Mapping[str, Any] | None


class Event(TypedDict):
    """An event of the tenant."""

    id: str
    type: str
    timestamp: str
    ordering_key: str
    data: Mapping[str, Any]


class Suppression(TypedDict):
    """An address that the tenant does not send to."""

    id: str
    address: str
    tag: str | None
    reason: str
    detail: str | None
    created_at: str


class Page(TypedDict, Generic[Item]):
    """A page of a list."""

    items: Sequence[Item]
    next_cursor: str | None
