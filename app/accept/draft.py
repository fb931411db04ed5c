"""Define a message as the caller wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from app.domain.dsn_request import DsnNotify, DsnReturn, RecipientDsn
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.mime.attachment import Attachment
from app.domain.mime.calendar import Calendar
from app.domain.mime.list_unsubscribe import ListUnsubscribe
from app.domain.types import Guarantee, NamedAddress, Priority


class Importance(StrEnum):
    """The importance that mail programs show."""

    HIGH = "high"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class DsnOptions:
    """The notifications to request; without `envelope_id` it is the message's id."""

    notify: tuple[DsnNotify, ...] = ()
    returns: DsnReturn | None = None
    envelope_id: str | None = None
    recipients: Mapping[str, RecipientDsn] = field(default_factory=dict)


@frozen_dataclass(kw_only=True)
class Draft:
    """A message as the caller wrote it: values are well-formed, nothing is decided.

    `return_path` is the MAIL FROM address if it is not the sender's; empty for `<>`. With
    `has_verp`, each recipient gets its own, derived from it.
    """

    sender: NamedAddress | None
    to: tuple[NamedAddress, ...] = ()
    cc: tuple[NamedAddress, ...] = ()
    bcc: tuple[NamedAddress, ...] = ()
    reply_to: tuple[NamedAddress, ...] = ()
    submitter: NamedAddress | None = None
    return_path: str | None = None
    has_verp: bool = False
    subject: str = ""
    text: str | None = None
    html: str | None = None
    calendar: Calendar | None = None
    attachments: tuple[Attachment, ...] = ()
    headers: Mapping[str, str]
    unsubscribe: ListUnsubscribe | None = None
    auto_submitted: str | None = None
    importance: Importance | None = None
    dsn: DsnOptions | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str]
    send_at: datetime | None = None
    expires_at: datetime | None = None
    priority: Priority = Priority.NORMAL
    guarantee: Guarantee = Guarantee.AT_LEAST_ONCE
    is_sensitive: bool = False
