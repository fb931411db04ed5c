"""Post a signed event to a webhook's URL (Standard Webhooks)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import httpx2
from pydantic_core import to_json
from standardwebhooks.webhooks import Webhook as Signer

from app import __version__, tracing
from app.domain.events import Event, build_payload
from app.domain.outcome.replies import make_printable
from app.domain.webhooks import RESPONSE_TIMEOUT_SECONDS, Webhook, WebhookResponse
from app.http_client import GuardedTransport
from app.smtp.resolve import Network
from app.store.messages.views import MessageView
from app.tracing import OpenSpan
from app.webhooks.resend_payload import build_resend_payload

MAX_RESPONSE_BYTES: Final = 1000
MAX_ERROR_CHARACTERS: Final = 300
# More digits than any wait needs would overflow a timedelta; no date is as long.
MAX_WAIT_DIGITS: Final = 9
MAX_WAIT_CHARACTERS: Final = 64
SIGNED: Final = ("id", "timestamp", "signature")
USER_AGENT: Final = f"Heloise/{__version__}"


def encode_event(event: Event, message: MessageView | None = None) -> bytes:
    """Encode the body of a post, with the event's message in Resend's format."""
    if message is None:
        return to_json(build_payload(event))
    return to_json(build_resend_payload(event, message))


@dataclass(frozen=True, slots=True)
class Poster:
    """Posts to URLs without following redirects."""

    client: httpx2.AsyncClient

    @classmethod
    async def create(cls, network: Network) -> "Poster":
        """Create a poster that connects only to allowed addresses."""
        transport = await GuardedTransport.made(network, cuts_answers=True)
        client = httpx2.AsyncClient(
            transport=transport,
            follow_redirects=False,
            trust_env=False,
            timeout=RESPONSE_TIMEOUT_SECONDS,
        )
        return cls(client)

    async def post(
        self,
        webhook: Webhook,
        event: Event,
        message: MessageView | None,
        *,
        secrets: Sequence[str],
        now: datetime,
    ) -> WebhookResponse:
        """Post an event and return the response. Network errors are returned, not raised.

        `message`: that of the event, for a webhook in Resend's format.
        """
        body = encode_event(event, message)
        headers = _build_headers(event.id, body, secrets, now)
        if message is not None:
            headers |= {f"svix-{name}": headers[f"webhook-{name}"] for name in SIGNED}
        with _trace(webhook, event) as span:
            if span.traceparent is not None:
                headers["traceparent"] = span.traceparent
            try:
                async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS):
                    response = await self.client.post(webhook.url, content=body, headers=headers)
            except TimeoutError as error:
                span.fail(error)
                return WebhookResponse(
                    error=f"no response within {RESPONSE_TIMEOUT_SECONDS:.0f} seconds"
                )
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                span.fail(error)
                return WebhookResponse(error=_describe(error))
            span.answer(response.status_code)
        return WebhookResponse(
            status_code=response.status_code,
            body=_truncate(response.content),
            retry_after=parse_retry_after(response.headers.get("Retry-After"), now=now),
        )

    async def close(self) -> None:
        await self.client.aclose()


def _trace(webhook: Webhook, event: Event) -> OpenSpan:
    """Open the span of a post, within the trace of the event's message."""
    parent = None if event.message is None else event.message.traceparent
    attributes = {
        "heloise.webhook.id": webhook.id,
        "heloise.event.id": event.id,
        "heloise.event.type": event.type.value,
    }
    return tracing.post(webhook.url, parent, attributes)


def _build_headers(
    event_id: str, body: bytes, secrets: Sequence[str], now: datetime
) -> dict[str, str]:
    signatures = [Signer(secret).sign(event_id, now, body.decode()) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _describe(error: Exception) -> str:
    """Describe an error in one bounded line: it may repeat what the receiver sent."""
    text = make_printable(str(error)[:MAX_ERROR_CHARACTERS]).replace("\n", " ")
    return text or type(error).__name__


def _truncate(content: bytes) -> str:
    """Return the start of a response as text that databases can store."""
    return (
        content[:MAX_RESPONSE_BYTES]
        .decode("utf-8", "replace")
        .replace("\0", "\N{REPLACEMENT CHARACTER}")
    )


def parse_retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """How long the server asks to wait, by seconds or by a date (RFC 9110 section 10.2.3).

    A date that is past means no wait. None where there is no value, or one that is neither.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=int(text) if len(text) <= MAX_WAIT_DIGITS else 10**MAX_WAIT_DIGITS)
    if not text or len(text) > MAX_WAIT_CHARACTERS:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    # All forms of HTTP's dates are in UTC; the one of asctime() does not say so.
    return max(moment.replace(tzinfo=moment.tzinfo or UTC) - now, timedelta(0))
