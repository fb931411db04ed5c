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
# A site gets a /64 of IPv6 (RFC 6177), so all its addresses belong to one client.
SITE_PREFIX: Final = 64


class AuthThrottle:
    """Limit invalid keys per client address.

    A key has 256 random bits, so guessing is hopeless; the limit saves work and audit entries.
    Valid keys are never throttled: other clients may share the address, behind a proxy or in a
    cluster.
    """

    def __init__(
        self, per_minute: int, *, monotonic: Callable[[], float] = monotonic_seconds
    ) -> None:
        self._per_minute = per_minute
        self._buckets = RateLimiter(monotonic=monotonic)

    def record_failure(self, source: str | None) -> None:
        """Count an invalid key; raises TooManyRequests above the limit of its address."""
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
    """Return the address, or the /64 network of an IPv6 address."""
    try:
        address = unmap_ipv4(ipaddress.ip_address(source or ""))
    except ValueError:
        return source or ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, SITE_PREFIX), strict=False))
