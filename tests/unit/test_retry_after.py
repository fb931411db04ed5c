"""`Retry-After`: seconds, or a date in one of three forms (RFC 9110 sections 10.2.3, 5.6.7)."""

from datetime import UTC, datetime, timedelta

import pytest

from app.webhooks.signed_post import parse_retry_after

NOW = datetime(1994, 11, 6, 8, 47, 37, tzinfo=UTC)
TWO_MINUTES = timedelta(minutes=2)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", TWO_MINUTES),
        ("0", timedelta(0)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", TWO_MINUTES),
        ("Sunday, 06-Nov-94 08:49:37 GMT", TWO_MINUTES),
        ("Sun Nov  6 08:49:37 1994", TWO_MINUTES),
        ("Sun, 06 Nov 1994 10:49:37 +0200", TWO_MINUTES),
        ("Sun, 06 Nov 1994 08:00:00 GMT", timedelta(0)),
        ("9" * 40, timedelta(seconds=10**9)),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("Sun, 06 Nov 99999 08:49:37 GMT", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT" + " " * 100 + "x", None),
    ],
)
def test_it_is_read_as_the_rfc_has_it(value: str | None, wait: timedelta | None) -> None:
    """What is neither is no wish to wait."""
    assert parse_retry_after(value, now=NOW) == wait
