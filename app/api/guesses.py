"""How often a source may show keys that open nothing."""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from app.api.buckets import Buckets
from app.domain.clock import monotonic_seconds
from app.domain.errors import TooManyRequests
from app.domain.networks import unmapped

MINUTE_SECONDS: Final = 60
MAX_RIGHT: Final = 10_000
# What one site of IPv6 is given, whose every address is the same guesser's (RFC 6177).
SITE_PREFIX: Final = 64


class Guesses:
    """A token bucket a source, of which keys that open something take nothing.

    Whoever has used up his guesses is not heard any more for a while, but with a key that opened
    something from the same source before: behind one proxy a wrong key does not lock out the rest.
    """

    def __init__(
        self, per_minute: int, *, monotonic: Callable[[], float] = monotonic_seconds
    ) -> None:
        self._per_minute = per_minute
        self._buckets = Buckets(monotonic=monotonic)
        self._right: OrderedDict[tuple[str, bytes | None], None] = OrderedDict()

    def check(self, source: str | None, key_hash: bytes | None) -> None:
        """Raise TooManyRequests where the source has no guess left and the key is new from it."""
        site, per_second = _site(source), self._per_minute / MINUTE_SECONDS
        if (site, key_hash) in self._right:
            return
        wait = self._buckets.wait_seconds(site, capacity=self._per_minute, per_second=per_second)
        if wait:
            raise TooManyRequests(
                "too-many-keys",
                f"More than {self._per_minute} requests a minute came from here with keys that open"
                " nothing (HELOISE_FAILED_KEYS_PER_MINUTE); wait as long as Retry-After says.",
                retry_after_seconds=math.ceil(wait),
                limit=self._per_minute,
                per_seconds=MINUTE_SECONDS,
            )

    def right(self, source: str | None, key_hash: bytes) -> None:
        """The key opened something."""
        known = (_site(source), key_hash)
        self._right[known] = None
        self._right.move_to_end(known)
        if len(self._right) > MAX_RIGHT:
            self._right.popitem(last=False)

    def wrong(self, source: str | None) -> None:
        """A guess was used up."""
        per_second = self._per_minute / MINUTE_SECONDS
        self._buckets.take(_site(source), capacity=self._per_minute, per_second=per_second)


def _site(source: str | None) -> str:
    """Whom an address belongs to, as far as one can tell."""
    try:
        address = unmapped(ipaddress.ip_address(source or ""))
    except ValueError:
        return source or ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, SITE_PREFIX), strict=False))
