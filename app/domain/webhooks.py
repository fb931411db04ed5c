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

# After the first failure, the second, and so on; after the last of them it is given up.
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
# So long an answer is waited for.
RESPONSE_TIMEOUT_SECONDS: Final = 20.0
MAX_RETRY_AFTER: Final = timedelta(hours=24)
MAX_PROBE_WAIT: Final = timedelta(minutes=5)
# One that has taken nothing for so long is not tried any more.
DISABLED_AFTER: Final = timedelta(days=5)
SECRET_OVERLAP: Final = timedelta(hours=24)


class DeliveryStatus(StrEnum):
    """The status of an event's delivery to a webhook."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where a tenant wants to be told of events. Holds no secret.

    `is_ordered`: an event waits until the one before it, of the same message, was taken or given
    up. `former_secret_until`: until then what is posted is signed with the former secret too.
    """

    id: str
    tenant_id: str
    name: str
    url: str
    event_filter: EventFilter
    is_ordered: bool
    former_secret_until: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookResponse:
    """What a receiver said: an HTTP status and the beginning of a body, or why it said nothing."""

    status_code: int | None = None
    body: str | None = field(default=None, repr=False)
    error: str | None = None
    retry_after: timedelta | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the event was taken: 2xx."""
        return self.status_code is not None and 200 <= self.status_code < 300  # noqa: PLR2004 - as HTTP has it

    @property
    def is_gone(self) -> bool:
        """Whether nothing more is wanted there (410)."""
        return self.status_code == HTTPStatus.GONE

    @property
    def reason(self) -> str:
        """Why it was not taken, in words."""
        return self.error or f"the URL answered {self.status_code}"


def compute_retry_wait(
    failures: int, response: WebhookResponse, random: Callable[[], float]
) -> timedelta | None:
    """How long to wait after so many failures; None: it is given up.

    What the receiver asks for is waited for, at most a day; else each wait is spread a little, so
    that many that failed at once come apart.
    """
    if failures > len(RETRY_WAITS):
        return None
    wait = RETRY_WAITS[failures - 1] * (1 + JITTER * random())
    if response.retry_after is not None:
        wait = max(wait, min(response.retry_after, MAX_RETRY_AFTER))
    return wait


def compute_probe_wait(failed_probes: int) -> timedelta:
    """How long a failing webhook is left alone: not at all at first, then 1 s, 2 s, … 5 min.

    One event may fail by itself, so the first probe follows at once.
    """
    if failed_probes == 0:
        return timedelta(0)
    # The exponent is bounded: five days of failing would overflow the float.
    return min(timedelta(seconds=2.0 ** min(failed_probes - 1, 10)), MAX_PROBE_WAIT)
