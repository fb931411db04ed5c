"""Limit the connections of a lane."""

from collections.abc import Mapping, Sequence

from app.delivery.lane_config import LaneConfig
from app.domain.delivery.aimd import Concurrency, is_throttling
from app.domain.delivery.destinations import NO_DESTINATION
from app.domain.outcome.outcome import Outcome, Verdict


class ConnectionLimit:
    """The lower of the connections granted to this worker and those the server accepts.

    `has_extra` allows one connection more. `granted_for` are the connections granted for
    destinations, by number.
    """

    def __init__(self, config: LaneConfig, granted: int) -> None:
        self.granted = granted
        self.granted_for: dict[int, int] = {}
        self.has_extra = False
        max_connections = config.profile.max_connections
        # This or another worker has observed it before.
        self._concurrency = Concurrency(
            max_connections=max_connections,
            limit=min(max_connections, config.concurrency or max_connections),
        )
        self._recorded = config.concurrency

    @property
    def connections(self) -> int:
        """The limit on connections."""
        return self.cap_connections(self.granted)

    @property
    def slots(self) -> int:
        """The limit on concurrent messages."""
        return self.connections + self.has_extra

    def cap_connections(self, granted: int) -> int:
        """Return the limit for this number of granted connections."""
        return min(granted, self._concurrency.limit)

    def grant(self, connections: Mapping[int, int]) -> None:
        """Set this worker's share of the connections, by destination; 0: of all."""
        self.granted_for = dict(connections)
        self.granted = self.granted_for.pop(NO_DESTINATION, self.granted)

    def revoke(self) -> None:
        """Take all connections, until some are granted again."""
        self.grant(dict.fromkeys((NO_DESTINATION, *self.granted_for), 0))

    def reconfigure(self, config: LaneConfig) -> None:
        """Apply a newer revision's limit."""
        max_connections = config.profile.max_connections
        self.granted = min(self.granted, max_connections)
        self._concurrency = self._concurrency.with_max_connections(max_connections)

    def adapt(self, results: Sequence[Outcome], seconds: float) -> None:
        """Use more or fewer connections, depending on how the server took a message."""
        if any(is_throttling(result) for result in results):
            self._concurrency = self._concurrency.record_throttling()
        elif any(result.verdict is Verdict.DELIVERED for result in results):
            self._concurrency = self._concurrency.record_success(seconds)

    def take_observed(self, profile_id: str) -> tuple[str, int | None] | None:
        """Return the profile and how many connections its server accepts, if that changed.

        None in the tuple: as many as the profile allows.
        """
        limit: int | None = self._concurrency.limit
        if limit == self._concurrency.max_connections:
            limit = None
        if limit == self._recorded:
            return None
        self._recorded = limit
        return profile_id, limit
