"""Translate Resend's emails into Heloise's messages, and back."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from pydantic import TypeAdapter, ValidationError

from app.api.http.field_errors import build_invalid_request, validate_body
from app.api.http.fields import Instant
from app.api.messages.schemas import MAX_TAGS, MessageCreate
from app.api.resend.email_schemas import EmailAttachment, EmailCreate, EmailTag
from app.domain.address.parse import format_named_address
from app.domain.errors import FieldError, InvalidRequest
from app.domain.inbound.bounce_parser import ReportKind
from app.domain.mime.attachment import MAX_FILENAME_CHARACTERS
from app.domain.mime.custom_headers import parse_named_addresses
from app.domain.mime.header_reader import TooComplexError
from app.domain.mime.part_reader import Part, read_message
from app.domain.types import MessageStatus, RecipientKind, RecipientStatus
from app.store.messages.views import MessageView, RecipientView

MAX_TAG_CHARACTERS: Final = 64
MAX_DELAY_DIGITS: Final = 5
_DELAY: Final = re.compile(
    rf"in (an?|\d{{1,{MAX_DELAY_DIGITS}}}) ?(second|sec|minute|min|hour|day|week)s?", re.IGNORECASE
)
_UNITS: Final = {
    "sec": timedelta(seconds=1),
    "second": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_INSTANT: Final = TypeAdapter[datetime](Instant)

R = RecipientStatus
EVENTS: Final = {
    R.QUEUED: "queued",
    R.SENDING: "queued",
    R.DEFERRED: "delivery_delayed",
    R.SENT: "delivered",
    R.BOUNCED: "bounced",
    R.EXPIRED: "failed",
    R.SUPPRESSED: "suppressed",
    R.CANCELLED: "canceled",
    R.UNCERTAIN: "sent",
}
REPORTED: Final = {
    ReportKind.COMPLAINED: "complained",
    ReportKind.BOUNCED_LATER: "bounced",
}
# Of several recipients, the email shows the worst.
WORST_FIRST: Final = (
    *("complained", "bounced", "failed", "suppressed", "delivery_delayed", "queued", "canceled"),
    *("sent", "delivered"),
)


def build_message(
    email: EmailCreate, files: Sequence[bytes | None], *, profile: str | None, now: datetime
) -> MessageCreate:
    """Build the message that an email asks for; raises InvalidRequest.

    `files` has the downloaded content of each attachment, or None where it has its own.
    """
    _check_required(email)
    values: dict[str, Any] = {
        "profile": profile,
        "from": email.sender,
        "to": email.to,
        "cc": email.cc,
        "bcc": email.bcc,
        "reply_to": email.reply_to,
        "text": email.text,
        "html": email.html,
        "headers": email.headers,
        "metadata": _build_metadata(email.tags),
        "tags": list(_list_tags(email)),
        "attachments": [
            _build_attachment(number, attachment, file)
            for number, (attachment, file) in enumerate(zip(email.attachments, files, strict=True))
        ],
    }
    if email.subject is not None:
        values["subject"] = email.subject
    if email.scheduled_at is not None:
        values["send_at"] = parse_time(email.scheduled_at, now)
    if email.template is not None:
        values |= {"template": email.template.id, "variables": email.template.variables}
    return validate_body(MessageCreate, values)


def _check_required(email: EmailCreate) -> None:
    """Raise InvalidRequest for each missing field. A template sets the subject."""
    needed: dict[str, object] = {"to": email.to}
    if email.template is None:
        needed = {"from": email.sender, **needed, "subject": email.subject}
    missing = [name for name, value in needed.items() if value is None or value == []]
    if missing:
        raise build_invalid_request(
            [FieldError(("body", name), "required", "missing") for name in missing]
        )


def _build_metadata(tags: Sequence[EmailTag]) -> dict[str, str]:
    metadata = dict[str, str]()
    for number, tag in enumerate(tags):
        if tag.name in metadata:
            raise InvalidRequest.at(
                "tags", number, "name", msg="another tag has this name; use each name once"
            )
        metadata[tag.name] = tag.value
    return metadata


def _list_tags(email: EmailCreate) -> Iterator[str]:
    """Yield tags to find and suppress messages by: the topic, and short `name:value` pairs."""
    if email.topic_id:
        yield email.topic_id
    pairs = (f"{tag.name}:{tag.value}" for tag in email.tags[: MAX_TAGS - 1])
    yield from (pair for pair in pairs if len(pair) <= MAX_TAG_CHARACTERS)


def _find_filename(url: str) -> str:
    """Return the last segment of a URL's path."""
    return unquote(urlsplit(url).path.rpartition("/")[2])[-MAX_FILENAME_CHARACTERS:]


def _build_attachment(
    number: int, attachment: EmailAttachment, file: bytes | None
) -> dict[str, Any]:
    content = attachment.content if file is None else file
    if content is None:
        raise InvalidRequest.at("attachments", number, "content", msg="set content or path")
    filename = attachment.filename or _find_filename(attachment.path or "")
    values = {
        "filename": filename,
        "content": content,
        "content_type": attachment.content_type,
        "content_id": attachment.content_id or attachment.inline_content_id,
    }
    return {name: value for name, value in values.items() if value is not None}


def parse_time(text: str, now: datetime) -> datetime:
    """Parse an ISO 8601 time or `in 5 minutes`; raises InvalidRequest."""
    if (delay := _DELAY.fullmatch(text.strip())) is not None:
        count = int(delay[1]) if delay[1].isdigit() else 1
        return now + count * _UNITS[delay[2].lower()]
    try:
        return _INSTANT.validate_python(text)
    except ValidationError:
        raise InvalidRequest.at(
            "scheduled_at",
            msg="write a time with an offset, such as 2026-01-16T09:30:00Z (ISO 8601), or a delay"
            " such as `in 5 minutes`",
        ) from None


def find_last_event(view: MessageView, now: datetime) -> str:
    """Return the word that Resend has for the message's state: of the worst recipient."""
    if view.status_at(now) is MessageStatus.SCHEDULED:
        return "scheduled"
    events = {_find_event(recipient) for recipient in view.recipients}
    return next(event for event in WORST_FIRST if event in events)


def _find_event(recipient: RecipientView) -> str:
    reported = None if recipient.report is None else REPORTED.get(recipient.report)
    return reported or EVENTS[recipient.status]


def describe_email(view: MessageView, now: datetime) -> dict[str, Any]:
    """Return an email as lists show it."""
    return {
        "id": view.id,
        "message_id": view.message_id_header,
        "to": view.format_recipients(RecipientKind.TO),
        "from": format_named_address(view.sender),
        "created_at": view.created_at,
        "subject": "" if view.is_sensitive else view.subject,
        "bcc": view.format_recipients(RecipientKind.BCC) or None,
        "cc": view.format_recipients(RecipientKind.CC) or None,
        "reply_to": None,
        "last_event": find_last_event(view, now),
        "scheduled_at": view.send_at,
    }


def describe_whole_email(view: MessageView, content: bytes | None, now: datetime) -> dict[str, Any]:
    """Return an email with its content; None: Heloise does not keep or show it."""
    tags = [{"name": name, "value": value} for name, value in view.metadata.items()]
    return {
        "object": "email",
        **describe_email(view, now),
        **read_content(content),
        "tags": tags,
        "topic_id": None,
    }


def read_content(content: bytes | None) -> dict[str, Any]:
    """Return the text, the HTML and the Reply-To of a message; None where there is none."""
    nothing: dict[str, Any] = {"html": None, "text": None, "reply_to": None}
    if content is None:
        return nothing
    try:
        message = read_message(content)
    except TooComplexError:  # one that was sent as it is
        return nothing
    parts = [part for part in message.walk() if not _is_attached(part)]
    texts = {
        name: next((_read_text(part, len(content)) for part in parts if part.kind == kind), None)
        for name, kind in (("html", "text/html"), ("text", "text/plain"))
    }
    return {**texts, "reply_to": _read_reply_to(message)}


def _read_text(part: Part, max_bytes: int) -> str:
    """Return a part's text without the last line end, which rendering adds."""
    return part.text(max_bytes).removesuffix("\n")


def _is_attached(part: Part) -> bool:
    disposition = part.header.get("content-disposition") or ""
    return disposition.lower().startswith("attachment")


def _read_reply_to(message: Part) -> list[str] | None:
    value = message.header.get("reply-to")
    if value is None:
        return None
    try:
        return [format_named_address(address) for address in parse_named_addresses(value)]
    except ValueError:  # of a message that was sent as it is
        return [value]
