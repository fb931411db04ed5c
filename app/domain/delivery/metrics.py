"""Metrics interface: lower layers report events, and depend on nothing."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from app.domain.outcome.outcome import Outcome


class DeliveryMetrics(Protocol):
    """Receives events for metrics; it never blocks or changes delivery."""

    def record_attempt(self, row: Mapping[str, Any]) -> None:
        """Record a stored attempt, with its row of `attempts`."""
        ...

    def record_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Record the outcomes of recipients."""
        ...

    def record_group(self, work: str, size: int) -> None:
        """Record the size of a transaction; `work` is accept, claim or settle."""
        ...

    def record_takeovers(self, count: int) -> None:
        """Record messages taken over from a worker that stopped."""
        ...
