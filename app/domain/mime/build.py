"""Render a message as bytes, once, at acceptance (invariant 2).

CRLF line ends, 7-bit, lines of at most 998 bytes (RFC 5322, RFC 2045, RFC 2046). The header is
UTF-8 only if addresses need it (RFC 6532).
"""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.mime.attachment import Attachment
from app.domain.mime.byte_blocks import join_blocks
from app.domain.mime.calendar import Calendar
from app.domain.mime.custom_headers import check_header, custom_field
from app.domain.mime.headers import address_field, check_subject, text_field
from app.domain.mime.parts import Part, calendar_part, file_part, multipart, text_part
from app.domain.types import NamedAddress

__all__ = ["Attachment", "Content", "build_message_id", "check_header", "check_subject", "render"]

MIME_VERSION: Final = b"MIME-Version: 1.0\r\n\r\n"


@frozen_dataclass(kw_only=True)
class Content:
    """The content of a message; blind recipients are not part of it.

    All values have passed `check_subject` or `check_header`; at least one of `text`, `html` and
    `calendar` is set. `submitter` sends in the name of `sender` (RFC 5322 section 3.6.2).
    """

    sender: NamedAddress
    submitter: NamedAddress | None = None
    to: tuple[NamedAddress, ...] = ()
    cc: tuple[NamedAddress, ...] = ()
    reply_to: tuple[NamedAddress, ...] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    calendar: Calendar | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()
    message_id: str
    date: datetime


def build_message_id(message_id: str, sender: NamedAddress) -> str:
    """Build `<uuid@domain>` (RFC 5322 section 3.6.4) from the id and the sender's domain."""
    _, _, digits = message_id.rpartition("_")
    uuid = "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])
    return f"<{uuid}@{sender.domain}>"


def parse_message_id(message_id: str) -> str | None:
    """Return the message id in a Message-ID that `build_message_id` made, or None."""
    try:
        return f"msg_{UUID(message_id.strip().strip('<').partition('@')[0]).hex}"
    except ValueError:
        return None


def render(content: Content) -> bytes:
    """Render the RFC 5322 message for the wire, before dot-stuffing."""
    body = _build_body(content)
    join = join_blocks if content.attachments else b"".join
    return join([_write_header(content).encode(), body.header, MIME_VERSION, *body.chunks])


def format_date(time: datetime) -> str:
    """Format a time as a date-time (RFC 5322 section 3.3)."""
    return _format_second(time.replace(microsecond=0))


@lru_cache(maxsize=16)  # many messages are accepted in the same second
def _format_second(second: datetime) -> str:
    return format_datetime(second)


def _write_header(content: Content) -> str:
    """Write the header; ASCII, except for addresses that are not (RFC 6532)."""
    fields = [
        f"Date: {format_date(content.date)}\r\n",
        address_field("From", [content.sender]),
        *([address_field("Sender", [content.submitter])] if content.submitter else []),
        *(
            address_field(name, named_addresses)
            for name, named_addresses in (
                ("Reply-To", content.reply_to),
                ("To", content.to),
                ("Cc", content.cc),
            )
            if named_addresses
        ),
        text_field("Subject", content.subject),
        f"Message-ID: {content.message_id}\r\n",
        *(custom_field(name, value) for name, value in content.headers.items()),
    ]
    return "".join(fields)


def _build_body(content: Content) -> Part:
    """Build text, HTML and invitation as alternatives, with inline parts, then the files."""
    related, files = list[Part](), list[Part]()
    for attachment in content.attachments:
        is_shown = content.html is not None and attachment.content_id is not None
        (related if is_shown else files).append(file_part(attachment))
    alternatives = list[Part]()
    if content.text is not None:
        alternatives.append(text_part("plain", content.text))
    if content.html is not None:
        page = text_part("html", content.html)
        alternatives.append(multipart("related", [page, *related]) if related else page)
    if content.calendar is not None:
        alternatives.append(calendar_part(content.calendar))
    body = alternatives[0] if len(alternatives) == 1 else multipart("alternative", alternatives)
    return multipart("mixed", [body, *files]) if files else body
