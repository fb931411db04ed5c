"""What comes back by mail after a message was sent, read from the mail's bytes.

Delivery status notifications (RFC 3464), complaints (RFC 5965, the "abuse reporting format"), what
qmail and older Exims write instead, and requests to leave a list (RFC 2369 section 3.2).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from email import message_from_bytes, message_from_string, policy
from email.message import Message
from email.utils import getaddresses
from enum import StrEnum
from typing import Final

from app.domain import verp
from app.domain.addresses import make_mailbox
from app.domain.dsn import from_xtext
from app.domain.outcome import NO_SUCH_MAILBOX
from app.domain.replies import printable

MAX_TEXT_CHARACTERS: Final = 1000
MAX_RECIPIENTS: Final = 1000
# What a mailbox or a server has put on the way says whom a report was sent to.
DELIVERED_TO: Final = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "to")
UNSUBSCRIBE: Final = re.compile(r"\s*unsubscribe(?:[\s:]+(\S{1,64}))?\s*", re.IGNORECASE)

_MESSAGE_ID: Final = re.compile(r"<[^<>@\s]+@[^<>@\s]+>")
_STATUS: Final = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
_HEADER_ID: Final = re.compile(r"^message-id:\s*(<[^<>\s]+>)", re.IGNORECASE | re.MULTILINE)
# http://cr.yp.to/proto/qsbmf.txt
_QMAIL: Final = re.compile(r"^Hi\. This is the ", re.MULTILINE)
_QMAIL_FAILED: Final = re.compile(r"^<([^<>\s]+@[^<>\s]+)>:\n((?:.+\n?)*)", re.MULTILINE)


class ReportKind(StrEnum):
    """What is said of a recipient."""

    DELIVERED = "delivered"
    DELAYED = "delayed"
    RETURNED = "returned"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"

    @property
    def is_last(self) -> bool:
        """Whether a later report of a lesser kind says nothing new."""
        return self not in {ReportKind.DELIVERED, ReportKind.DELAYED}


# RFC 3464 section 2.3.3.
ACTIONS: Final = {
    "failed": ReportKind.RETURNED,
    "delayed": ReportKind.DELAYED,
    "delivered": ReportKind.DELIVERED,
    "relayed": ReportKind.DELIVERED,
    "expanded": ReportKind.DELIVERED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What is said of one recipient; an address that is not told is None.

    `code` is an enhanced status code (RFC 3463), `text` what a server said, or a person.
    """

    kind: ReportKind
    addresses: tuple[str, ...] = ()
    code: str | None = None
    text: str | None = None

    @property
    def is_hard_bounce(self) -> bool:
        """Whether there is no such recipient, and will be none."""
        return self.kind is ReportKind.RETURNED and self.code in NO_SUCH_MAILBOX


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A mail that says something of messages that were sent.

    Which ones is told by `places` (a message's id and a recipient's position in it), by `ids` of
    messages, or by `message_ids`, as in the header Message-ID; the first that leads anywhere is
    meant. `tag` is the list that somebody leaves; None for all.
    """

    recipients: tuple[Reported, ...]
    places: tuple[tuple[str, int], ...] = ()
    ids: tuple[str, ...] = ()
    message_ids: tuple[str, ...] = ()
    tag: str | None = None


def parse(content: bytes, *, sent_to: str | None = None) -> Report:
    """What a mail says; `sent_to` is the address of the envelope that it came with.

    Raises ValueError where it is none of these reports, whose text says so.
    """
    try:
        mail = message_from_bytes(content, policy=policy.compat32)
        report = _read(mail)
    except RecursionError:
        raise ValueError("its parts are nested too deeply") from None
    if report is None:
        raise ValueError(
            "it is neither a delivery status notification (RFC 3464), nor a complaint (RFC 5965),"
            " nor is its subject `unsubscribe`"
        )
    addresses = [sent_to or "", *_addresses(mail, DELIVERED_TO)]
    places = tuple(place for each in addresses if (place := verp.parse(each)) is not None)
    return replace(report, places=tuple(dict.fromkeys((*places, *report.places))))


def _read(mail: Message) -> Report | None:
    for part in _own_parts(mail):
        kind = part.get_content_type()
        if kind in {"message/delivery-status", "message/global-delivery-status"}:
            return _of_notification(mail, part)
        if kind == "message/feedback-report":
            return _of_complaint(mail, part)
    if mail.get("X-Failed-Recipients"):
        return _of_exim(mail)
    if mail.get_content_type() == "text/plain" and _QMAIL.search(text := _text(mail)):
        return _of_qmail(mail, text)
    found = UNSUBSCRIBE.fullmatch(_said(mail.get("Subject")) or "")
    return None if found is None else _of_leaving(mail, found[1])


def _of_notification(mail: Message, status: Message) -> Report:
    """A delivery status notification (RFC 3464): fields of the message, then of each recipient."""
    blocks = _blocks(status)
    recipients = []
    for block in blocks[:MAX_RECIPIENTS]:
        action = (_said(block.get("Action")) or "").partition(" ")[0].lower()
        if (kind := ACTIONS.get(action)) is None:
            continue
        text = _typed(block.get("Diagnostic-Code"))
        named = (_typed(block.get(n)) for n in ("Original-Recipient", "Final-Recipient"))
        recipients.append(
            Reported(
                kind=kind,
                addresses=tuple(dict.fromkeys(filter(None, map(_address, named)))),
                code=_code(_said(block.get("Status")), text),
                text=text,
            )
        )
    envelope = next((_said(each.get("Original-Envelope-Id")) for each in blocks), None)
    return Report(
        recipients=tuple(recipients),
        ids=(from_xtext(envelope),) if envelope else (),
        message_ids=_message_ids(mail),
    )


def _of_complaint(mail: Message, feedback: Message) -> Report:
    """A complaint (RFC 5965); that something is no spam is none."""
    [fields, *_] = _blocks(feedback) or [feedback]
    kind = (_said(fields.get("Feedback-Type")) or "").lower()
    if kind == "not-spam":
        return Report(recipients=())
    named = [
        *(fields.get_all("Original-Rcpt-To") or []),
        *(fields.get_all("Removal-Recipient") or []),
    ]
    addresses = tuple(dict.fromkeys(filter(None, map(_address, named))))
    reported = Reported(
        kind=ReportKind.COMPLAINED, addresses=addresses, text=f"feedback of type {kind}"
    )
    return_path = _address(fields.get("Original-Mail-From"))
    place = verp.parse(return_path) if return_path else None
    return Report(
        recipients=(reported,),
        places=() if place is None else (place,),
        message_ids=_message_ids(mail),
    )


def _of_exim(mail: Message) -> Report:
    """What Exim writes where it is not told to write a notification of the standard's form."""
    named = _addresses(mail, ["x-failed-recipients"])
    text = _text(mail)
    found = _STATUS.search(text)
    return Report(
        recipients=tuple(
            Reported(
                kind=ReportKind.RETURNED,
                addresses=(each,),
                code=found and found[1],
                text=_after(text, each),
            )
            for each in named
        ),
        message_ids=_message_ids(mail, text),
    )


def _of_qmail(mail: Message, text: str) -> Report:
    """The form of qmail: paragraphs that begin with an address, then the message."""
    said, _, _ = text.partition("\n--- ")
    recipients = []
    for address, reason in _QMAIL_FAILED.findall(said):
        found = _STATUS.search(reason)
        reported = Reported(
            kind=ReportKind.RETURNED,
            addresses=(address,),
            code=found and found[1],
            text=_cut(reason),
        )
        recipients.append(reported)
    return Report(recipients=tuple(recipients), message_ids=_message_ids(mail, text))


def _of_leaving(mail: Message, tag: str | None) -> Report:
    """Whoever writes leaves the list that the subject names, or all."""
    addresses = tuple(_addresses(mail, ["from"]))[:1]
    reported = Reported(kind=ReportKind.UNSUBSCRIBED, addresses=addresses, text="by mail")
    return Report(recipients=(reported,), message_ids=_message_ids(mail), tag=tag)


def _own_parts(mail: Message) -> Iterator[Message]:
    """The parts of a mail, but for those of mails in it."""
    payload = mail.get_payload()
    if mail.get_content_maintype() != "multipart" or not isinstance(payload, list):
        return
    for each in payload:
        if isinstance(each, Message):
            yield each
            yield from _own_parts(each)


def _blocks(part: Message) -> list[Message]:
    """The groups of fields in a part, which the parser takes for messages."""
    payload = part.get_payload()
    found = [each for each in payload if isinstance(each, Message)]
    if part.get_content_subtype() != "global-delivery-status":
        return found
    # Its first group is taken for the header of a mail, and all others for its text (RFC 6533).
    text = b"\n".join(each.as_bytes() for each in found).decode("utf-8", "replace")
    groups = re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n"))
    return [message_from_string(each.strip()) for each in groups if each.strip()]


def _message_ids(mail: Message, text: str = "") -> tuple[str, ...]:
    """By what the message could be known that a report is about, the surest first.

    That is the message that came back, whole or its header, or quoted in a text; then the one that
    the report is an answer to.
    """
    found = list[str]()
    for part in mail.walk():
        if part is not mail and (given := part.get("Message-ID")) is not None:
            found += _MESSAGE_ID.findall(str(given))
        elif part.get_content_type() in {"text/rfc822-headers", "message/global-headers"}:
            found += _HEADER_ID.findall(_text(part))
    found += _HEADER_ID.findall(text)
    for name in ("In-Reply-To", "References"):
        found += _MESSAGE_ID.findall(str(mail.get(name, "")))
    return tuple(dict.fromkeys(found))


def _addresses(mail: Message, names: Iterable[str]) -> Iterator[str]:
    values = [str(value) for name in names for value in mail.get_all(name) or ()]
    for _, address in getaddresses(values):
        if (found := _address(address)) is not None:
            yield found


def _address(text: str | None) -> str | None:
    """An address as recipients are stored; None where it is none."""
    try:
        return make_mailbox((text or "").strip().strip("<>")).address
    except ValueError:
        return None


def _code(status: str | None, text: str | None) -> str | None:
    """The status, or the one of the text where that says no more than that it failed."""
    found = [each[1] for said in (status, text) if (each := _STATUS.search(said or ""))]
    telling = [each for each in found if not each.endswith(".0.0")]
    return next(iter(telling or found), None)


def _typed(value: object) -> str | None:
    """What stands behind a field's type: `rfc822; ann@example.org` (RFC 3464 section 2.1.2)."""
    said = _said(value)
    return said and (said.partition(";")[2].strip() or None)


def _said(value: object) -> str | None:
    """The text of a header field on one line; None where it is not there."""
    return None if value is None else _cut(" ".join(str(value).split()))


def _text(part: Message) -> str:
    """The text of a part, however it is encoded."""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    return payload.decode("utf-8", "replace").replace("\r\n", "\n")


def _after(text: str, address: str) -> str | None:
    """What is said of an address: the lines behind it that are indented."""
    found = re.search(rf"^ *{re.escape(address)}\n((?: +.*\n?)+)", text, re.MULTILINE)
    return None if found is None else _cut(found[1])


def _cut(text: str) -> str:
    return printable(" ".join(text.split()))[:MAX_TEXT_CHARACTERS]
