"""Parse `Retry-After` of an HTTP response."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

# More digits than any wait needs would overflow a timedelta; no date is as long.
MAX_DIGITS: Final = 9
MAX_CHARACTERS: Final = 64


def parse_retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """How long the server asks to wait, by seconds or by a date (RFC 9110 section 10.2.3).

    A date that is past means no wait. None where there is no value, or one that is neither.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=int(text) if len(text) <= MAX_DIGITS else 10**MAX_DIGITS)
    if not text or len(text) > MAX_CHARACTERS:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    # All forms of HTTP's dates are in UTC; the one of asctime() does not say so.
    return max(moment.replace(tzinfo=moment.tzinfo or UTC) - now, timedelta(0))
