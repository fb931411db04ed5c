"""Build the body of an event as Resend posts it."""

from collections.abc import Mapping
from typing import Any, Final

from app.domain.address.parse import format_named_address
from app.domain.events import Event, EventType
from app.domain.outcome.outcome import NO_SUCH_MAILBOX
from app.domain.resend_events import RESEND_TYPES
from app.domain.types import RecipientKind
from app.store.messages.views import MessageView

# Amazon SES's words, which Resend repeats; for other outcomes `General`.
BOUNCE_SUBTYPES: Final[Mapping[str, str]] = {
    "mailbox_full": "MailboxFull",
    "message_too_large": "MessageTooLarge",
    "content_rejected": "ContentRejected",
}
BOUNCES: Final = frozenset({EventType.RECIPIENT_BOUNCED, EventType.RECIPIENT_BOUNCED_LATER})


def build_resend_payload(event: Event, message: MessageView) -> dict[str, Any]:
    """Build the JSON of an event whose type has a name at Resend.

    `to` has only the recipient that the event is about, or all of a message's event.
    """
    return {
        "type": RESEND_TYPES[event.type],
        "created_at": event.created_at,
        "data": {
            "email_id": message.id,
            "message_id": message.message_id_header,
            "created_at": message.created_at,
            "from": format_named_address(message.sender),
            "to": message.format_recipients(RecipientKind.TO)
            if event.recipient is None
            else [event.recipient.named_address.address],
            "subject": "" if message.is_sensitive else message.subject,
            "tags": dict(message.metadata),
            **_describe_outcome(event),
        },
    }


def _describe_outcome(event: Event) -> dict[str, Any]:
    classification = event.data.get("classification") or ""
    text = event.data.get("text") or classification.replace("_", " ")
    if event.type in BOUNCES:
        # The sentence that anymail recognizes a bounce by comes first.
        reason = f"The recipient's mail server sent a bounce message: {text or 'no text'}"
        subtype = BOUNCE_SUBTYPES.get(classification, "General")
        if event.data.get("enhanced_code") in NO_SUCH_MAILBOX:
            subtype = "NoEmail"
        return {"bounce": {"message": reason, "type": "Permanent", "subType": subtype}}
    if event.type is EventType.RECIPIENT_EXPIRED:
        return {"failed": {"reason": text or "the message expired before a server accepted it"}}
    if event.type is EventType.RECIPIENT_SUPPRESSED:
        reason = "Heloise has suppressed sending to this address, which is on the suppression list"
        return {"suppressed": {"message": reason, "type": "OnAccountSuppressionList"}}
    return {}
