"""Define provider webhooks: URLs to which email providers post what became of messages."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

MAX_ID_CHARACTERS: Final = 255
POST_PATH: Final = re.compile(r"/inbound/(ses|sendgrid|postmark|mailgun|brevo)/([^/]+)")
_TOKEN_IN_PATH: Final = re.compile(r"(/inbound/[^/]+/).+", re.DOTALL)


class Provider(StrEnum):
    """The email providers whose webhooks Heloise reads."""

    SES = "ses"
    SENDGRID = "sendgrid"
    POSTMARK = "postmark"
    MAILGUN = "mailgun"
    BREVO = "brevo"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderWebhook:
    """A URL for one provider's events, without its token and its secret.

    Until `former_token_until`, the former token works too. `events` counts those that were
    reports, `unmatched` those of them without a message, `ignored` all others, such as clicks.
    """

    id: str
    tenant_id: str
    name: str
    provider: Provider
    public_key: str | None = None  # of SendGrid
    topic_arn: str | None = None  # of SES
    has_secret: bool = False
    networks: tuple[str, ...] = ()
    former_token_until: datetime | None = None
    received_at: datetime | None = None
    events: int = 0
    unmatched: int = 0
    ignored: int = 0
    created_at: datetime
    updated_at: datetime


def hide_token(path: str) -> str:
    """Return a path without the token of a provider webhook, for logs and errors.

    The path may have a prefix that a proxy did not remove.
    """
    return _TOKEN_IN_PATH.sub(r"\1…", path) if "/inbound/" in path else path


# What providers answer to the final dot, without the codes. The shapes differ from each other and
# from queue ids of mail servers. Mailgun's reply has no id, and Postmark's is not in its webhooks.
_REPLIES: Final[Mapping[Provider, re.Pattern[str]]] = {
    Provider.SES: re.compile(r"Ok ([0-9a-f]{8,20}(?:-[0-9a-f]{4,12}){5}-[0-9]{6})"),
    Provider.SENDGRID: re.compile(r"Ok: queued as ([A-Za-z0-9_-]{22})"),
    Provider.BREVO: re.compile(r"OK: queued as <([^<>\s]+@[^<>\s]+)>"),
}


def read_provider_message_id(reply_text: str) -> str | None:
    """Return the provider's id of a message from its reply to the final dot, or None."""
    text = reply_text.strip()
    for pattern in _REPLIES.values():
        match = pattern.fullmatch(text)
        if match is not None and len(match[1]) <= MAX_ID_CHARACTERS:
            return match[1]
    return None


POSTMARK_DOMAIN: Final = ".postmarkapp.com"
POSTMARK_METADATA: Final = "heloise-id"


def build_trace_fields(host: str | None, message_id: str) -> dict[str, str]:
    """Build the header fields by which a provider's webhooks name the message.

    Postmark's webhooks contain neither the Message-ID nor the id of the SMTP reply. They repeat
    metadata, which Postmark removes from the message.
    """
    if host is None or not host.lower().endswith(POSTMARK_DOMAIN):
        return {}
    return {f"X-PM-Metadata-{POSTMARK_METADATA}": message_id}
