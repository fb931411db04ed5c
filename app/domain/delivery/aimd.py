"""Adapt the number of connections to what a server handles (AIMD, as in TCP).

A server that throttles or slows down gets half as many connections. After as many successes as it
has connections, it gets one more.
"""

import re
from dataclasses import replace
from typing import Final

from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.outcome.outcome import Outcome
from app.domain.outcome.replies import UNAVAILABLE

# The status of replies to idle clients: they say nothing about load.
IDLE_TOO_LONG: Final = "4.4.2"

FAST_WEIGHT: Final = 0.1
SLOW_WEIGHT: Final = 0.01
# A server this much slower than usual, and slow in absolute terms, is overloaded.
SLOWDOWN_FACTOR: Final = 4.0
SLOW_SECONDS: Final = 1.0


@frozen_dataclass(kw_only=True)
class Concurrency:
    """The current limit, at most `max_connections`, and `successes` since its last change.

    `fast_seconds` and `slow_seconds` are moving averages of a transaction's duration, over few and
    over many transactions.
    """

    max_connections: int
    limit: int
    successes: int = 0
    fast_seconds: float = 0.0
    slow_seconds: float = 0.0

    def with_max_connections(self, max_connections: int) -> "Concurrency":
        """Change the maximum; an unreduced limit follows it."""
        limit = (
            max_connections
            if self.limit == self.max_connections
            else min(self.limit, max_connections)
        )
        return replace(self, max_connections=max_connections, limit=limit)

    def record_throttling(self) -> "Concurrency":
        """Halve the limit: the server throttles."""
        return replace(
            self, limit=max(1, self.limit // 2), successes=0, fast_seconds=self.slow_seconds
        )

    def record_success(self, seconds: float) -> "Concurrency":
        """Record a transaction and its duration; raise the limit after enough successes."""
        fast, slow = self.fast_seconds, self.slow_seconds
        updated = Concurrency(
            max_connections=self.max_connections,
            limit=self.limit,
            successes=self.successes + 1,
            fast_seconds=fast + FAST_WEIGHT * (seconds - fast) if fast else seconds,
            slow_seconds=slow + SLOW_WEIGHT * (seconds - slow) if slow else seconds,
        )
        if updated.fast_seconds > max(SLOW_SECONDS, SLOWDOWN_FACTOR * updated.slow_seconds):
            return updated.record_throttling()
        if self.limit < self.max_connections and updated.successes >= self.limit:
            return replace(updated, limit=self.limit + 1, successes=0)
        return updated


_THROTTLED: Final = re.compile(
    r"too many (connections|concurrent|messages|requests)|rate ?limit|throttl|slow(ing)? down"
    r"|too fast|try again later|temporarily deferred due to",
    re.IGNORECASE,
)
# RFC 3463 section 3.5: 4.4.5 system congestion; 4.3.2 system not accepting messages.
_CONGESTED: Final = frozenset({"4.4.5", "4.3.2", "4.7.28", "4.7.650"})


def is_throttling(outcome: Outcome) -> bool:
    """Whether a reply asks for less load; only 4yz replies do."""
    reply = outcome.reply
    if reply is None or reply.is_positive or reply.is_permanent:
        return False
    if reply.enhanced_code in _CONGESTED or _THROTTLED.search(reply.text) is not None:
        return True
    return reply.code == UNAVAILABLE and reply.enhanced_code != IDLE_TOO_LONG
