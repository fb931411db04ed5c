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
    """Limit invalid keys, sessions and sign-ins per client address, each by itself.

    A key has 256 random bits, so guessing is hopeless; the limit saves work and audit entries.
    Valid keys are never throttled: other clients may share the address, behind a proxy or in a
    cluster.
    """

    def __init__(
        self, per_minute: int, *, monotonic: Callable[[], float] = monotonic_seconds
    ) -> None:
        self._per_minute = per_minute
        self._buckets = RateLimiter(monotonic=monotonic)

    def record_failure(self, source: str | None, *, of: str = "key") -> None:
        """Count an invalid key; raises TooManyRequests above the limit of its address."""
        self._check(
            self._buckets.take,
            source,
            of,
            f"This {of} is not valid, and this address sent more than {self._per_minute} invalid"
            f" {of}s in a minute (HELOISE_AUTH_FAILURES_PER_MINUTE). Check the {of}, and wait for"
            " Retry-After.",
        )

    def check_sign_in(self, source: str | None) -> None:
        """Raise TooManyRequests after too many failed sign-ins: each costs the provider work."""
        self._check(
            self._buckets.wait_seconds,
            source,
            "sign-in",
            f"More than {self._per_minute} sign-ins from this address failed in a minute"
            " (HELOISE_AUTH_FAILURES_PER_MINUTE). Wait for Retry-After.",
        )

    def _check(
        self, find_wait: Callable[..., float], source: str | None, of: str, detail: str
    ) -> None:
        wait = find_wait(
            f"{of} {_find_site(source)}",
            capacity=self._per_minute,
            per_second=self._per_minute / MINUTE_SECONDS,
        )
        if wait:
            raise TooManyRequests(
                "too-many-auth-failures",
                detail,
                retry_after_seconds=math.ceil(wait),
                limit=self._per_minute,
                per_seconds=MINUTE_SECONDS,
            )


def _find_site(source: str | None) -> str:
    """Return the address, or the /64 network of an IPv6 address."""
    try:
        address = unmap_ipv4(ipaddress.ip_address(source or ""))
    except ValueError:
        return source or ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, SITE_PREFIX), strict=False))
