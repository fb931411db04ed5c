"""Define webhooks, their secrets and their retries.

Follows the Standard Webhooks specification 1.0.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from app.domain.events import EventFilter

# The waits after the first failure, the second, and so on; then the delivery fails.
RETRY_WAITS: Final = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
JITTER: Final = 0.1
# How long to wait for a response.
RESPONSE_TIMEOUT_SECONDS: Final = 20.0
MAX_RETRY_AFTER: Final = timedelta(hours=24)
MAX_PROBE_WAIT: Final = timedelta(minutes=5)
# A webhook that accepts nothing for this long is disabled.
DISABLED_AFTER: Final = timedelta(days=5)


class DeliveryStatus(StrEnum):
    """The status of an event's delivery to a webhook."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookFormat(StrEnum):
    """The form of events in posts: Heloise's own or Resend's."""

    HELOISE = "heloise"
    RESEND = "resend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A URL that receives a tenant's events; holds no secret.

    `is_ordered`: an event waits until the previous one of the same message was delivered or failed.
    Until `former_secret_until`, requests are also signed with the former secret. `last_error` says
    why the last failed post failed; since `waiting_since`, the next event waits to be posted.
    """

    id: str
    tenant_id: str
    name: str
    url: str
    event_filter: EventFilter = field(default_factory=EventFilter)
    is_ordered: bool = False
    format: WebhookFormat = WebhookFormat.HELOISE
    former_secret_until: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    failing_since: datetime | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None
    waiting_since: datetime | None = None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookResponse:
    """A receiver's response: status and beginning of the body, or the error."""

    status_code: int | None = None
    body: str | None = field(default=None, repr=False)
    error: str | None = None
    retry_after: timedelta | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the receiver accepted the event (2xx)."""
        return self.status_code is not None and 200 <= self.status_code < 300  # noqa: PLR2004 - as HTTP has it

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants no more events (410)."""
        return self.status_code == HTTPStatus.GONE

    @property
    def reason(self) -> str:
        """Describe why the event was not accepted."""
        return self.error or f"the URL answered {self.status_code}"


def compute_retry_wait(
    failures: int, response: WebhookResponse, random: Callable[[], float]
) -> timedelta | None:
    """Return the wait after this many failures; None means that the delivery fails.

    Waits as long as the receiver asks, at most a day; otherwise adds jitter, to spread simultaneous
    failures.
    """
    if failures > len(RETRY_WAITS):
        return None
    wait = RETRY_WAITS[failures - 1] * (1 + JITTER * random())
    if response.retry_after is not None:
        wait = max(wait, min(response.retry_after, MAX_RETRY_AFTER))
    return wait


def compute_probe_wait(failed_probes: int) -> timedelta:
    """Return the wait before a probe: none at first, then 1 s to 5 min.

    It doubles each time. A single event may fail by itself, so the first probe follows at once.
    """
    if failed_probes == 0:
        return timedelta(0)
    # Bounds the exponent: five days of failures would overflow the float.
    return min(timedelta(seconds=2.0 ** min(failed_probes - 1, 10)), MAX_PROBE_WAIT)
