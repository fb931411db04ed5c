"""Rate-limit failed authentication by client IP."""

import ipaddress
import math
from collections.abc import Callable
from typing import Final

from app.auth.rate_limiter import RateLimiter
from app.domain.clock import monotonic_seconds
from app.domain.errors import TooManyRequests
from app.domain.networks import unmap_ipv4

MINUTE_SECONDS: Final = 60
# What one site of IPv6 is given, whose every address is the same guesser's (RFC 6177).
SITE_PREFIX: Final = 64


class AuthThrottle:
    """A token bucket a source, which wrong keys alone take from.

    A key has 256 random bits, so nobody finds one by guessing; what is kept off is the work, and
    the lines of the audit log. A key that opens something is never asked for a token: other people
    may guess from the same source, behind a proxy or in the same cluster.
    """

    def __init__(
        self, per_minute: int, *, monotonic: Callable[[], float] = monotonic_seconds
    ) -> None:
        self._per_minute = per_minute
        self._buckets = RateLimiter(monotonic=monotonic)

    def record_failure(self, source: str | None) -> None:
        """Count a wrong key; raises TooManyRequests where the source has no guess left."""
        site, per_second = _find_site(source), self._per_minute / MINUTE_SECONDS
        wait = self._buckets.wait_seconds(site, capacity=self._per_minute, per_second=per_second)
        if wait:
            raise TooManyRequests(
                "too-many-auth-failures",
                f"This key is not valid, and this address sent more than {self._per_minute}"
                " invalid keys in a minute (HELOISE_AUTH_FAILURES_PER_MINUTE). Check the key, and"
                " wait for Retry-After.",
                retry_after_seconds=math.ceil(wait),
                limit=self._per_minute,
                per_seconds=MINUTE_SECONDS,
            )
        self._buckets.take(site, capacity=self._per_minute, per_second=per_second)


def _find_site(source: str | None) -> str:
    """Whom an address belongs to, as far as one can tell."""
    try:
        address = unmap_ipv4(ipaddress.ip_address(source or ""))
    except ValueError:
        return source or ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, SITE_PREFIX), strict=False))
