"""Parse bounces, complaints and unsubscribe requests from mail.

Formats: delivery status notifications (RFC 3464), complaints (RFC 5965), the bounces of qmail and
old Exims, and requests to leave a list (RFC 2369 section 3.2).
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from app.domain.address import verp
from app.domain.address.parse import make_named_address
from app.domain.dsn_request import decode_xtext
from app.domain.mime.header_reader import Header, decode_words, read_header
from app.domain.mime.list_unsubscribe import UNSUBSCRIBE
from app.domain.mime.part_reader import Part, read_message
from app.domain.outcome.outcome import NO_SUCH_MAILBOX
from app.domain.outcome.replies import make_printable

MAX_TEXT_CHARACTERS: Final = 1000
MAX_RECIPIENTS: Final = 1000
# Limits on the text, the returned message and the report's fields that are read.
MAX_TEXT_BYTES: Final = 262_144
MAX_FIELDS_BYTES: Final = 524_288
# Mailboxes and forwarding servers add the original recipient here.
DELIVERED_TO: Final = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "to")

_MESSAGE_ID: Final = re.compile(r"<[^<>@\s]+@[^<>@\s]+>")
_STATUS: Final = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
_HEADER_ID: Final = re.compile(r"^message-id:\s*(<[^<>\s]+>)", re.IGNORECASE | re.MULTILINE)
_FIRST_WORD: Final = re.compile(r"[a-z-]*")
_BLANK: Final = re.compile(rb"[ \t\r\n]*")
# http://cr.yp.to/proto/qsbmf.txt
_QMAIL: Final = re.compile(r"^Hi\. This is the ", re.MULTILINE)
# Addresses inside these are ignored; then the separators between addresses.
_ASIDE: Final = re.compile(r'"(?:[^"\\]|\\.)*"(?!@)|\((?:[^()\\]|\\.)*\)')
_BETWEEN: Final = re.compile(r"[\s<>()\[\],;:]+")

BLANK_KINDS: Final = ("text/plain", "text/html")
RETURNED_MESSAGE: Final = frozenset(
    {"message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers"}
)
STATUS_FIELDS: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
# The feedback types (RFC 5965 section 7.3) that express a person's complaint.
COMPLAINTS: Final = frozenset({"abuse", "opt-out"})


class ReportKind(StrEnum):
    """What a report says about a recipient."""

    DELIVERED = "delivered"
    DELAYED = "delayed"
    BOUNCED_LATER = "bounced_later"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    REPORTED = "reported"  # by a machine, for information only: it has no consequence

    @property
    def is_final(self) -> bool:
        """Whether a lesser report later adds nothing."""
        return self not in {ReportKind.DELIVERED, ReportKind.DELAYED, ReportKind.REPORTED}


# RFC 3464 section 2.3.3.
ACTIONS: Final = {
    "failed": ReportKind.BOUNCED_LATER,
    "delayed": ReportKind.DELAYED,
    "delivered": ReportKind.DELIVERED,
    "relayed": ReportKind.DELIVERED,
    "expanded": ReportKind.DELIVERED,
}
# By class of status code (RFC 3463 section 2), if the report has no action.
CLASSES: Final = {
    "2": ReportKind.DELIVERED,
    "4": ReportKind.DELAYED,
    "5": ReportKind.BOUNCED_LATER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedRecipient:
    """What a report says about one recipient; an undisclosed address is None.

    `code` is an enhanced status code (RFC 3463), `text` is by a server or a person.
    """

    kind: ReportKind
    addresses: tuple[str, ...] = ()
    code: str | None = None
    text: str | None = None

    @property
    def is_hard_bounce(self) -> bool:
        """Whether the recipient does not exist, permanently."""
        return self.kind is ReportKind.BOUNCED_LATER and self.code in NO_SUCH_MAILBOX


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A mail about messages that were sent.

    `places` (a message's id and a recipient's position), `ids` of messages, `message_ids` (header
    Message-ID) and `provider_message_ids` identify these; the first match counts. `tag` is the text
    after `unsubscribe`: a tag, or any words.
    """

    recipients: tuple[ReportedRecipient, ...]
    places: tuple[tuple[str, int], ...] = ()
    ids: tuple[str, ...] = ()
    message_ids: tuple[str, ...] = ()
    provider_message_ids: tuple[str, ...] = ()
    tag: str | None = None


class UnparsableReportError(ValueError):
    """A mail has the form of a report, but no usable content."""


def parse_report(content: bytes, *, sent_to: str | None = None) -> Report:
    """Parse a mail; `sent_to` is its envelope recipient.

    Raises ValueError if it is not a report, UnparsableReportError if it has no usable content, and
    TooComplexError beyond a limit; the text says why.
    """
    mail = read_message(content)
    report = _parse_report(mail)
    if report is None:
        raise ValueError(
            "not a delivery status notification (RFC 3464), not a complaint (RFC 5965), and the"
            " subject is not `unsubscribe`, alone or with a tag"
        )
    addresses = [sent_to or "", *_find_addresses(mail.header, DELIVERED_TO)]
    places = tuple(
        place for address in addresses if (place := verp.parse_return_path(address)) is not None
    )
    report = replace(report, places=tuple(dict.fromkeys((*places, *report.places))))
    if report.recipients and not _is_traceable(report):
        raise UnparsableReportError("names neither a recipient nor a sent message")
    return report


def _is_traceable(report: Report) -> bool:
    """Whether a report names anything that identifies a message or recipient."""
    is_addressed = any(recipient.addresses for recipient in report.recipients)
    return is_addressed or bool(report.places or report.ids or report.message_ids)


def _parse_report(mail: Part) -> Report | None:
    for part in mail.walk():
        if part.kind in STATUS_FIELDS:
            return _parse_notification(mail, part)
        if part.kind == "message/feedback-report":
            return _parse_complaint(mail, part)
    text = mail.text(MAX_TEXT_BYTES) if mail.kind == "text/plain" else ""
    if mail.header.get("x-failed-recipients"):
        return _parse_exim_bounce(mail, text)
    if _QMAIL.search(text):
        return _parse_qmail_bounce(mail, text)
    subject = _read_text(decode_words(mail.header.get("subject") or "")) or ""
    if not subject and _is_blank(mail):
        return _parse_unsubscribe(mail, None)  # some programs reduce the request to an address
    match = UNSUBSCRIBE.fullmatch(subject)
    return None if match is None else _parse_unsubscribe(mail, match[1])


def _parse_notification(mail: Part, status: Part) -> Report:
    """Parse a delivery status notification (RFC 3464): message fields, then recipients."""
    blocks = list(_read_blocks(status))
    recipients = tuple(filter(None, map(_parse_recipient, blocks)))
    if not recipients:
        raise UnparsableReportError(
            "a delivery status notification without a result: each recipient needs Action or"
            " Status (RFC 3464 section 2.3)"
        )
    envelope = next(
        filter(None, (_read_text(block.get("original-envelope-id")) for block in blocks)), ""
    )
    return Report(
        recipients=recipients[:MAX_RECIPIENTS],
        ids=(make_printable(decode_xtext(envelope)),) if envelope else (),
        message_ids=_find_message_ids(mail),
    )


def _parse_recipient(fields: Header) -> ReportedRecipient | None:
    """Parse a recipient's group of fields; None if it says nothing."""
    text = _strip_type(fields.get("diagnostic-code"))
    code = find_status_code(_read_text(fields.get("status")), text)
    kind = ACTIONS.get(_read_first_word(fields.get("action"))) or CLASSES.get((code or "")[:1])
    if kind is None:
        return None
    recipient_fields = (
        _strip_type(fields.get(name)) for name in ("original-recipient", "final-recipient")
    )
    return ReportedRecipient(
        kind=kind,
        addresses=tuple(dict.fromkeys(filter(None, map(parse_address, recipient_fields)))),
        code=code,
        text=text,
    )


def _parse_complaint(mail: Part, feedback: Part) -> Report:
    """Parse feedback (RFC 5965): complaints and machine reports; "not spam" is neither."""
    fields = next(_read_blocks(feedback), feedback.header)
    kind = _read_first_word(fields.get("feedback-type"))
    if not kind:
        raise UnparsableReportError(
            "a feedback report without a type: it needs Feedback-Type (RFC 5965 section 3.1)"
        )
    if kind == "not-spam":
        return Report(recipients=())
    recipient_fields = [*fields.get_all("original-rcpt-to"), *fields.get_all("removal-recipient")]
    addresses = tuple(
        dict.fromkeys(filter(None, map(parse_address, recipient_fields[:MAX_RECIPIENTS])))
    )
    recipient = ReportedRecipient(
        kind=ReportKind.COMPLAINED if kind in COMPLAINTS else ReportKind.REPORTED,
        addresses=addresses,
        text=shorten(f"feedback of type {kind}"),
    )
    return_path = parse_address(fields.get("original-mail-from"))
    place = verp.parse_return_path(return_path) if return_path else None
    return Report(
        recipients=(recipient,),
        places=() if place is None else (place,),
        message_ids=_find_message_ids(mail),
    )


def _parse_exim_bounce(mail: Part, text: str) -> Report:
    """Parse Exim's default bounce, which is not in the standard format."""
    addresses = list(_find_addresses(mail.header, ["x-failed-recipients"]))[:MAX_RECIPIENTS]
    if not addresses:
        raise UnparsableReportError("a bounce without an address in X-Failed-Recipients")
    code = find_status_code(text)
    reasons = _collect_reasons(text.split("\n"), frozenset(addresses))
    recipients = (_build_bounce(address, code, reasons.get(address)) for address in addresses)
    return Report(recipients=tuple(recipients), message_ids=_find_message_ids(mail, text))


def _collect_reasons(lines: Iterable[str], addresses: Collection[str]) -> dict[str, str]:
    """Collect each address's reason: the indented lines after the line with the address alone."""
    reasons, address = dict[str, list[str]](), None
    for line in lines:
        if line.strip() in addresses:
            address = line.strip()
            reasons.setdefault(address, [])
        elif address is not None and line.startswith(" "):
            reasons[address].append(line)
        else:
            address = None
    return {
        address: shorten(" ".join(reason_lines))
        for address, reason_lines in reasons.items()
        if reason_lines
    }


def _parse_qmail_bounce(mail: Part, text: str) -> Report:
    """Parse qmail's bounce: paragraphs that begin with an address, then the message."""
    paragraphs, _, _ = text.partition("\n--- ")
    reasons, address = dict[str, list[str]](), None
    for line in paragraphs.split("\n"):
        if line.startswith("<") and line.endswith(">:"):
            address = parse_address(line[1:-2])
            reasons |= {} if address is None else {address: []}
        elif not line:
            address = None
        elif address is not None:
            reasons[address].append(line)
    if not reasons:
        raise UnparsableReportError("a qmail bounce without an address")
    texts = {failed_address: shorten(" ".join(lines)) for failed_address, lines in reasons.items()}
    recipients = [
        _build_bounce(failed_address, find_status_code(reason), reason)
        for failed_address, reason in list(texts.items())[:MAX_RECIPIENTS]
    ]
    return Report(recipients=tuple(recipients), message_ids=_find_message_ids(mail, text))


def _build_bounce(address: str, code: str | None, reason: str | None) -> ReportedRecipient:
    kind = ReportKind.BOUNCED_LATER
    return ReportedRecipient(kind=kind, addresses=(address,), code=code, text=reason)


def _is_blank(mail: Part) -> bool:
    """Whether a person wrote nothing, in text or HTML."""
    if mail.header.get("from") is None:
        return False
    parts = [part for part in mail.walk() if not part.kind.startswith("multipart/")]
    texts = [part for part in parts if part.kind == "text/plain"]
    is_text_alone = len(texts) == 1 and len(parts) <= len(BLANK_KINDS)
    has_blank_kinds = all(part.kind in BLANK_KINDS for part in parts)
    return is_text_alone and has_blank_kinds and not texts[0].text(MAX_TEXT_BYTES).strip()


def _parse_unsubscribe(mail: Part, tag: str | None) -> Report:
    """Parse a request to leave the subject's list, or all lists.

    With several senders the recipient is unknown.
    """
    senders = tuple(dict.fromkeys(_find_addresses(mail.header, ["from"])))
    addresses = senders if len(senders) == 1 else ()
    recipient = ReportedRecipient(kind=ReportKind.UNSUBSCRIBED, addresses=addresses, text="by mail")
    return Report(recipients=(recipient,), message_ids=_find_message_ids(mail), tag=tag)


def _read_blocks(part: Part) -> Iterator[Header]:
    """Yield the groups of fields in a part, which empty lines separate."""
    content, position = part.decode(MAX_FIELDS_BYTES), 0
    for _ in range(MAX_RECIPIENTS + 1):
        blank = _BLANK.match(content, position)
        position = position if blank is None else blank.end()
        if position == len(content):
            return
        block = read_header(content, position)
        if block.fields:
            yield block
        position = block.end


def _find_message_ids(mail: Part, text: str = "") -> tuple[str, ...]:
    """Find Message-IDs of the reported message, the most reliable first.

    These are in the returned message, whole or header only, or quoted in text; then in In-Reply-To
    and References.
    """
    message_ids = list[str]()
    for part in mail.walk():
        if part.kind in RETURNED_MESSAGE:
            header, _, _ = part.text(MAX_TEXT_BYTES).lstrip("\n").partition("\n\n")
            message_ids += _HEADER_ID.findall(make_printable(header))
    message_ids += _HEADER_ID.findall(make_printable(text))
    for name in ("in-reply-to", "references"):
        message_ids += _MESSAGE_ID.findall(mail.header.get(name) or "")
    return tuple(dict.fromkeys(message_ids))


def _find_addresses(header: Header, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        for value in header.get_all(name):
            for word in _BETWEEN.split(_ASIDE.sub(" ", value)):
                address = (
                    parse_address(word) or parse_address(word.strip('"')) if "@" in word else None
                )
                if address is not None:
                    yield address


def parse_address(text: str | None) -> str | None:
    """Parse an address into its stored form, or None."""
    try:
        return make_named_address((text or "").strip().strip("<>")).address
    except ValueError:
        return None


def find_status_code(*texts: str | None) -> str | None:
    """Return the first status code in these texts; a generic one only if there is no other."""
    codes = [match[1] for text in texts if (match := _STATUS.search(text or ""))]
    detailed_codes = [code for code in codes if not code.endswith(".0.0")]
    return next(iter(detailed_codes or codes), None)


def _read_first_word(value: str | None) -> str:
    """Return a token without its comment (RFC 3464 section 2.1.1)."""
    match = _FIRST_WORD.match((value or "").lower())
    return "" if match is None else match[0]


def _strip_type(value: str | None) -> str | None:
    """Strip a field's type: `rfc822; ann@example.org` (RFC 3464 section 2.1.2)."""
    text = _read_text(value) or ""
    kind, separator, content = text.partition(";")
    return (content if separator else kind).strip() or None


def _read_text(value: str | None) -> str | None:
    """Return a header field's text on one line, or None."""
    return None if value is None else shorten(value)


def shorten(text: str) -> str:
    """Return a text on one line, printable and bounded."""
    return make_printable(" ".join(text.split()))[:MAX_TEXT_CHARACTERS]
