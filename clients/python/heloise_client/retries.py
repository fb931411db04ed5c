"""Decide whether to repeat a request, and when."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import httpx2

from heloise_client.calls import Call, is_gone, read_problem
from heloise_client.errors import ApiError, NoAnswerError, UnreachableError

FIRST_WAIT_SECONDS: Final = 0.5
MAX_WAIT_SECONDS: Final = 15.0
MAX_RETRY_AFTER_CHARACTERS: Final = 64

# The request did not leave: it may be repeated, whatever it does.
NOT_SENT: Final = (httpx2.ConnectTimeout, httpx2.PoolTimeout)
# The service may have carried out the request.
LOST: Final = (
    httpx2.TimeoutException,
    httpx2.ReadError,
    httpx2.WriteError,
    httpx2.CloseError,
    httpx2.RemoteProtocolError,
)
BUSY: Final = frozenset(
    {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
IN_FLIGHT: Final = "idempotency-key-in-flight"

Outcome = httpx2.Response | httpx2.TransportError


class Retries:
    """One call, and the time that is left for it. `now` is monotonic."""

    def __init__(self, call: Call[Any], *, total_seconds: float, now: float) -> None:
        self._call = call
        self._ends_at = now + total_seconds
        self._attempts = 0

    def limit_timeout(self, timeout_seconds: float, *, now: float) -> float:
        """Return how long the next attempt may wait for the service."""
        return max(min(timeout_seconds, self._ends_at - now), 0.001)

    def wait_after(self, outcome: Outcome, *, now: float) -> float | None:
        """Return the seconds until the next attempt, or None if the outcome is final."""
        if not _may_repeat(self._call, outcome):
            return None
        longest = min(FIRST_WAIT_SECONDS * 2.0**self._attempts, MAX_WAIT_SECONDS)
        wait = longest * random.uniform(0.5, 1)  # noqa: S311 - no secret
        self._attempts += 1
        if isinstance(outcome, httpx2.Response):
            wait = max(wait, read_retry_after(outcome) or 0)
        return wait if now + wait < self._ends_at else None

    def finish(self, outcome: Outcome) -> httpx2.Response:
        """Return a successful response; raise an error for any other outcome."""
        key = self._call.idempotency_key
        if isinstance(outcome, httpx2.TransportError):
            is_unreachable = isinstance(outcome, httpx2.ConnectError)
            kind = UnreachableError if is_unreachable else NoAnswerError
            raise kind(str(outcome) or type(outcome).__name__, idempotency_key=key)
        # The answer to the first attempt may have been lost.
        if outcome.is_success or (self._attempts and is_gone(self._call, outcome)):
            return outcome
        raise ApiError(
            outcome.status_code,
            read_problem(outcome),
            retry_after_seconds=read_retry_after(outcome),
            idempotency_key=key,
        )


def _may_repeat(call: Call[Any], outcome: Outcome) -> bool:
    if isinstance(outcome, httpx2.TransportError):
        is_lost = call.is_repeatable and isinstance(outcome, LOST)
        return is_lost or isinstance(outcome, NOT_SENT)
    if outcome.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        return True  # refused before anything happened
    if not call.is_repeatable:
        return False
    is_conflict = outcome.status_code == HTTPStatus.CONFLICT
    is_in_flight = is_conflict and str(read_problem(outcome).get("type", "")).endswith(IN_FLIGHT)
    return is_in_flight or outcome.status_code in BUSY


def read_retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds that a response asks to wait."""
    return parse_retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC))


def parse_retry_after(value: str | None, *, now: datetime) -> float | None:
    """Parse seconds or a date (RFC 9110, section 10.2.3); None if it is neither."""
    text = (value or "").strip()
    if not text or len(text) > MAX_RETRY_AFTER_CHARACTERS:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    # The form of asctime() does not say that it is in UTC.
    return max((moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds(), 0.0)
