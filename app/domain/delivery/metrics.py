"""Metrics interface: lower layers report events, and depend on nothing."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Protocol

from app.domain.outcome.outcome import Outcome
from app.domain.types import NewMessage


class DeliveryMetrics(Protocol):
    """Receives events for metrics; it never blocks or changes delivery."""

    def record_accepted(self, messages: Iterable[NewMessage]) -> None:
        """Record messages that were stored."""
        ...

    def record_attempt(self, row: Mapping[str, Any], profile_name: str) -> None:
        """Record an attempt that ended, with its row of `attempts`."""
        ...

    def record_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Record the outcomes of recipients."""
        ...

    def record_sent(
        self, tenant_id: str, profile_id: str, waited: timedelta, recipient_count: int
    ) -> None:
        """Record recipients that a server accepted, so long after they could be sent."""
        ...

    def record_retries(self, tenant_id: str, profile_id: str, recipient_count: int) -> None:
        """Record recipients that Heloise tries again later."""
        ...

    def record_group(self, work: str, size: int) -> None:
        """Record the size of a transaction; `work` is accept, claim or settle."""
        ...

    def record_takeover(self, reason: str) -> None:
        """Record a message taken over; `reason` is worker_gone or lease_expired."""
        ...
