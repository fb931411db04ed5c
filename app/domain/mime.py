"""The message as bytes: rendered once, when it is accepted (invariant 2).

The body's parts are the standard library's `email` under its SMTP policy (RFC 2045, RFC 2046): CRLF
line ends, 7-bit clean, lines of 998 octets at the most.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final
from uuid import UUID

from app.domain.headers import check_header, check_subject, mailbox_field, text_field
from app.domain.types import Mailbox

__all__ = ["Content", "check_header", "check_subject", "message_id_header", "render"]

POLICY: Final = policy.SMTP.clone(cte_type="7bit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What stands in a message. Whom it goes to in secret does not.

    Every value has passed `check_subject` or `check_header`; `text`, `html` or both are given.
    """

    sender: Mailbox
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    message_id: str
    date: datetime


def message_id_header(message_id: str, sender: Mailbox) -> str:
    """`<uuid@domain>` (RFC 5322 section 3.6.4), from a message's id and its sender's domain."""
    return f"<{UUID(message_id.rpartition('_')[2])}@{sender.domain}>"


def render(content: Content) -> bytes:
    """The message in the form of RFC 5322 that goes over the wire, before dot-stuffing."""
    return _header(content).encode("ascii") + _body(content).as_bytes()


def _header(content: Content) -> str:
    fields = [
        f"Date: {format_datetime(content.date)}\r\n",
        mailbox_field("From", [content.sender]),
        *(
            mailbox_field(name, mailboxes)
            for name, mailboxes in (
                ("Reply-To", content.reply_to),
                ("To", content.to),
                ("Cc", content.cc),
            )
            if mailboxes
        ),
        text_field("Subject", content.subject),
        f"Message-ID: {content.message_id}\r\n",
        *(text_field(name, value) for name, value in content.headers.items()),
    ]
    return "".join(fields)


def _body(content: Content) -> EmailMessage:
    body = EmailMessage(POLICY)
    if content.text is not None:
        body.set_content(content.text)
    if content.html is not None and content.text is not None:
        body.add_alternative(content.html, subtype="html")
    elif content.html is not None:
        body.set_content(content.html, subtype="html")
    return body
