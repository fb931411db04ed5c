"""Read reports from the webhook posts of email providers.

The JSON is signed, but its shape is not trusted: a value of another type counts as missing.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from json import dumps
from typing import Any, Final, NamedTuple

from app.domain.address import verp
from app.domain.inbound.bounce_parser import (
    COMPLAINTS,
    MAX_RECIPIENTS,
    Report,
    ReportedRecipient,
    ReportKind,
    find_status_code,
    parse_address,
    shorten,
)
from app.domain.inbound.provider import POSTMARK_METADATA, Provider

# Providers say these where they know that the address does not exist.
GENERIC_CODES: Final = frozenset({None, "5.0.0", "5.5.0"})
NO_SUCH_ADDRESS: Final = "5.1.1"  # RFC 3463 section 3.2
# Some copy the type of a diagnostic code (RFC 3464 section 2.3.6).
_TYPE: Final = re.compile(r"^smtp; *", re.IGNORECASE)

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEvent:
    """An event of a provider; `report` is None if it says nothing about delivery.

    `digest` is the same when the provider posts the event again.
    """

    digest: bytes
    report: Report | None


def parse_events(provider: Provider, payload: object, *, post_id: str = "") -> list[ProviderEvent]:
    """Parse a post: one event or a list. `post_id` identifies a post of SES."""
    events = payload if isinstance(payload, list) else [payload]
    read = _READERS[provider]
    return [
        ProviderEvent(digest=_digest(provider, event, post_id), report=read(event))
        for event in map(_mapping, events)
    ]


def _digest(provider: Provider, event: Json, post_id: str) -> bytes:
    """Hash the event's id; Postmark and Brevo repeat events unchanged and give them none."""
    match provider:
        case Provider.SES:
            event_id: object = post_id
        case Provider.SENDGRID:
            event_id = event.get("sg_event_id")
        case Provider.MAILGUN:
            event_id = _mapping(event.get("event-data")).get("id")
        case _:
            event_id = None
    return sha256(dumps([provider, event_id or event], sort_keys=True).encode()).digest()


class _Meaning(NamedTuple):
    """What an event means; `is_hard`: the provider knows that the address does not exist."""

    kind: ReportKind
    is_hard: bool = False


BOUNCED: Final = _Meaning(ReportKind.BOUNCED_LATER)
BOUNCED_HARD: Final = _Meaning(ReportKind.BOUNCED_LATER, is_hard=True)
DELAYED: Final = _Meaning(ReportKind.DELAYED)
DELIVERED: Final = _Meaning(ReportKind.DELIVERED)
COMPLAINED: Final = _Meaning(ReportKind.COMPLAINED)
UNSUBSCRIBED: Final = _Meaning(ReportKind.UNSUBSCRIBED)
REPORTED: Final = _Meaning(ReportKind.REPORTED)


def _recipient(
    meaning: _Meaning, address: object, *, code: object = None, text: object = None
) -> ReportedRecipient:
    reason = _TYPE.sub("", _text(text) or "")
    status = find_status_code(_text(code), reason)
    if meaning.is_hard and status in GENERIC_CODES:
        status = NO_SUCH_ADDRESS
    parsed = parse_address(_text(address))
    return ReportedRecipient(
        kind=meaning.kind,
        addresses=(parsed,) if parsed else (),
        code=status,
        text=reason or None,
    )


# https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html and
# https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
def _read_ses(event: Json) -> Report | None:
    kind = event.get("eventType") or event.get("notificationType")
    read_recipients = _SES_RECIPIENTS.get(kind) if isinstance(kind, str) else None
    recipients = () if read_recipients is None else tuple(read_recipients(event))
    if not recipients:
        return None
    mail = _mapping(event.get("mail"))
    place = verp.parse_return_path(_text(mail.get("source")) or "")
    return Report(
        recipients=recipients,
        places=() if place is None else (place,),
        message_ids=_message_ids(_mapping(mail.get("commonHeaders")).get("messageId")),
        provider_message_ids=_ids(mail.get("messageId")),
    )


def _read_ses_bounce(event: Json) -> Iterable[ReportedRecipient]:
    bounce = _mapping(event.get("bounce"))
    meaning = BOUNCED_HARD if bounce.get("bounceType") == "Permanent" else BOUNCED
    for row in map(_mapping, _items(bounce.get("bouncedRecipients"))):
        kind = f"{bounce.get('bounceType')}: {bounce.get('bounceSubType')}"
        text = row.get("diagnosticCode") or kind
        yield _recipient(meaning, row.get("emailAddress"), code=row.get("status"), text=text)


def _read_ses_complaint(event: Json) -> Iterable[ReportedRecipient]:
    complaint = _mapping(event.get("complaint"))
    feedback = _text(complaint.get("complaintFeedbackType")) or "abuse"
    if feedback == "not-spam":
        return
    meaning = COMPLAINED if feedback in COMPLAINTS else REPORTED
    for row in map(_mapping, _items(complaint.get("complainedRecipients"))):
        yield _recipient(meaning, row.get("emailAddress"), text=f"feedback of type {feedback}")


def _read_ses_delivery(event: Json) -> Iterable[ReportedRecipient]:
    delivery = _mapping(event.get("delivery"))
    for address in _items(delivery.get("recipients")):
        yield _recipient(DELIVERED, address, text=delivery.get("smtpResponse"))


def _read_ses_delay(event: Json) -> Iterable[ReportedRecipient]:
    delay = _mapping(event.get("deliveryDelay"))
    for row in map(_mapping, _items(delay.get("delayedRecipients"))):
        text = row.get("diagnosticCode") or delay.get("delayType")
        yield _recipient(DELAYED, row.get("emailAddress"), code=row.get("status"), text=text)


def _read_ses_rejection(event: Json) -> Iterable[ReportedRecipient]:
    reason = _text(_mapping(event.get("reject")).get("reason"))
    for address in _items(_mapping(event.get("mail")).get("destination")):
        yield _recipient(BOUNCED, address, text=f"SES rejected the message: {reason}")


_SES_RECIPIENTS: Final[Mapping[str, Callable[[Json], Iterable[ReportedRecipient]]]] = {
    "Bounce": _read_ses_bounce,
    "Complaint": _read_ses_complaint,
    "Delivery": _read_ses_delivery,
    "DeliveryDelay": _read_ses_delay,
    "Reject": _read_ses_rejection,
}


# https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
SENDGRID_EVENTS: Final = {
    "delivered": DELIVERED,
    "deferred": DELAYED,
    "bounce": BOUNCED,
    "dropped": BOUNCED,
    "spamreport": COMPLAINED,
    "unsubscribe": UNSUBSCRIBED,
}


def _read_sendgrid(event: Json) -> Report | None:
    meaning = _find_meaning(SENDGRID_EVENTS, event.get("event"))
    if meaning is None:
        return None
    is_invalid = event.get("bounce_classification") == "Invalid Address"
    if meaning is BOUNCED and (is_invalid or event.get("reason") == "Invalid"):
        meaning = BOUNCED_HARD
    text = event.get("reason") or event.get("response")
    sg_message_id = (_text(event.get("sg_message_id")) or "").partition(".")[0]
    return Report(
        recipients=(_recipient(meaning, event.get("email"), code=event.get("status"), text=text),),
        message_ids=_message_ids(event.get("smtp-id")),
        provider_message_ids=_ids(sg_message_id),
    )


# https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-structure
MAILGUN_EVENTS: Final = {
    "delivered": DELIVERED,
    "rejected": BOUNCED,
    "complained": COMPLAINED,
    "unsubscribed": UNSUBSCRIBED,
}


def _read_mailgun(payload: Json) -> Report | None:
    event = _mapping(payload.get("event-data"))
    status = _mapping(event.get("delivery-status"))
    meaning = _find_meaning(MAILGUN_EVENTS, event.get("event"))
    if event.get("event") == "failed":
        is_hard = status.get("bounce-type") == "hard"
        permanent = BOUNCED_HARD if is_hard else BOUNCED
        meaning = permanent if event.get("severity") == "permanent" else DELAYED
    if meaning is None:
        return None
    rejection = _mapping(event.get("reject")).get("reason")
    text = status.get("message") or status.get("description") or rejection or event.get("reason")
    code = status.get("enhanced-code")
    place = verp.parse_return_path(_text(_mapping(event.get("envelope")).get("sender")) or "")
    headers = _mapping(_mapping(event.get("message")).get("headers"))
    return Report(
        recipients=(_recipient(meaning, event.get("recipient"), code=code, text=text),),
        places=() if place is None else (place,),
        message_ids=_message_ids(headers.get("message-id")),
    )


# https://postmarkapp.com/developer/webhooks/bounce-webhook and
# https://postmarkapp.com/developer/api/bounce-api#bounce-types
POSTMARK_BOUNCES: Final = {
    "HardBounce": BOUNCED_HARD,
    "BadEmailAddress": BOUNCED_HARD,
    "Transient": DELAYED,
    "DnsError": DELAYED,
    "SoftBounce": BOUNCED,
    "Blocked": BOUNCED,
    "SpamNotification": BOUNCED,
    "VirusNotification": BOUNCED,
    "DMARCPolicy": BOUNCED,
    "ManuallyDeactivated": BOUNCED,
    "Unconfirmed": BOUNCED,
    "SMTPApiError": BOUNCED,
    "Unknown": BOUNCED,
    "SpamComplaint": COMPLAINED,
    "Unsubscribe": UNSUBSCRIBED,
}
POSTMARK_RECORDS: Final = {"Delivery": DELIVERED, "SpamComplaint": COMPLAINED}


def _read_postmark(event: Json) -> Report | None:
    meaning = _find_meaning(POSTMARK_RECORDS, event.get("RecordType"))
    if event.get("RecordType") == "Bounce":
        meaning = _find_meaning(POSTMARK_BOUNCES, event.get("Type"))
    elif event.get("RecordType") == "SubscriptionChange":
        # Postmark posts bounces and complaints of their own.
        is_request = event.get("SuppressionReason") == "ManualSuppression"
        is_request = is_request and event.get("Origin") == "Recipient"
        meaning = UNSUBSCRIBED if is_request and event.get("SuppressSending") is True else None
    if meaning is None:
        return None
    metadata = {name.lower(): value for name, value in _mapping(event.get("Metadata")).items()}
    address = event.get("Email") or event.get("Recipient")
    text = event.get("Details") or event.get("Description")
    return Report(
        recipients=(_recipient(meaning, address, text=text),),
        ids=_ids(metadata.get(POSTMARK_METADATA)),
    )


# https://developers.brevo.com/docs/transactional-webhooks
BREVO_EVENTS: Final = {
    "delivered": DELIVERED,
    "deferred": DELAYED,
    "hard_bounce": BOUNCED_HARD,
    "invalid_email": BOUNCED_HARD,
    "soft_bounce": BOUNCED,
    "blocked": BOUNCED,
    "error": BOUNCED,
    "spam": COMPLAINED,
    "complaint": COMPLAINED,
    "unsubscribed": UNSUBSCRIBED,
    "unsubscribe": UNSUBSCRIBED,
}


def _read_brevo(event: Json) -> Report | None:
    meaning = _find_meaning(BREVO_EVENTS, event.get("event"))
    if meaning is None:
        return None
    message_ids = _message_ids(event.get("message-id"))
    return Report(
        recipients=(_recipient(meaning, event.get("email"), text=event.get("reason")),),
        message_ids=message_ids,
        provider_message_ids=tuple(message_id.strip("<>") for message_id in message_ids),
    )


_READERS: Final[Mapping[Provider, Callable[[Json], Report | None]]] = {
    Provider.SES: _read_ses,
    Provider.SENDGRID: _read_sendgrid,
    Provider.POSTMARK: _read_postmark,
    Provider.MAILGUN: _read_mailgun,
    Provider.BREVO: _read_brevo,
}


def _find_meaning(meanings: Mapping[str, _Meaning], name: object) -> _Meaning | None:
    return meanings.get(name) if isinstance(name, str) else None


def _mapping(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[Any]:
    return value[:MAX_RECIPIENTS] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    """Return a text on one line, short and printable, as databases can store it."""
    return shorten(value) if isinstance(value, str) else None


def _ids(value: object) -> tuple[str, ...]:
    text = _text(value)
    return (text,) if text else ()


def _message_ids(value: object) -> tuple[str, ...]:
    """Return a Message-ID in angle brackets, which some providers leave out."""
    return tuple(f"<{text.strip('<> ')}>" for text in _ids(value))
