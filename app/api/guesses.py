"""How often a source may show keys that open nothing."""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from app.domain.clock import monotonic_seconds
from app.domain.errors import TooManyRequests

K = TypeVar("K")
V = TypeVar("V")
MINUTE_SECONDS: Final = 60.0
MAX_SOURCES: Final = 10_000
# What one site of IPv6 is given, whose every address is the same guesser's (RFC 6177).
SITE_PREFIX: Final = 64


@dataclass(slots=True)
class _Left:
    guesses: float
    at: float


class Guesses:
    """A token bucket a source, of which keys that open something take nothing.

    Whoever has used up his guesses is not heard any more for a while, but with a key that opened
    something from the same source before: behind one proxy a wrong key does not lock out the rest.
    """

    def __init__(
        self, per_minute: int, *, monotonic: Callable[[], float] = monotonic_seconds
    ) -> None:
        self._per_minute = per_minute
        self._monotonic = monotonic
        self._left: OrderedDict[str, _Left] = OrderedDict()
        self._right: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def check(self, source: str | None, key_hash: bytes | None) -> None:
        """Raise TooManyRequests where the source has no guess left and the key is new from it."""
        site = _site(source)
        if (site, key_hash) in self._right or self._refilled(site).guesses >= 1:
            return
        wait = (1 - self._left[site].guesses) * MINUTE_SECONDS / self._per_minute
        raise TooManyRequests(
            "too-many-keys",
            f"More than {self._per_minute} requests a minute came from here with keys that open"
            " nothing (HELOISE_FAILED_KEYS_PER_MINUTE); wait as long as Retry-After says.",
            retry_after_seconds=max(1, math.ceil(wait)),
            limit=self._per_minute,
            per_seconds=int(MINUTE_SECONDS),
        )

    def right(self, source: str | None, key_hash: bytes) -> None:
        """The key opened something."""
        _put(self._right, (_site(source), key_hash), None)

    def wrong(self, source: str | None) -> None:
        """A guess was used up."""
        self._refilled(_site(source)).guesses -= 1

    def _refilled(self, site: str) -> _Left:
        now, full = self._monotonic(), float(self._per_minute)
        left = self._left.get(site) or _Left(full, now)
        left.guesses = min(full, left.guesses + (now - left.at) * full / MINUTE_SECONDS)
        left.at = now
        _put(self._left, site, left)
        return left


def _put(kept: OrderedDict[K, V], key: K, value: V) -> None:
    """Keep it as the newest; where there are too many, the oldest goes."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > MAX_SOURCES:
        kept.popitem(last=False)


def _site(source: str | None) -> str:
    """Whom an address belongs to, as far as one can tell."""
    try:
        address = ipaddress.ip_address(source or "")
    except ValueError:
        return source or ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, SITE_PREFIX), strict=False))
