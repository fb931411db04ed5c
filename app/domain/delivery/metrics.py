"""Metrics interface: lower layers report events, and depend on nothing."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from app.domain.outcome.outcome import Outcome


class DeliveryMetrics(Protocol):
    """Who listens to facts; nothing waits for it, and nothing depends on it."""

    def record_attempt(self, row: Mapping[str, Any]) -> None:
        """An attempt was written down: its row of `attempts`."""
        ...

    def record_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Recipients were decided."""
        ...

    def record_group(self, work: str, size: int) -> None:
        """So many messages were written in one transaction; `work` is accept, claim or settle."""
        ...

    def record_takeovers(self, count: int) -> None:
        """So many messages were taken over from a worker that stopped."""
        ...
