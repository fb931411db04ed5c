"""Collect Prometheus metrics from facts that lower layers emit.

Label sets are bounded: no tenant, profile or address is a label. Each process counts for itself;
values from the database are the same in every process.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from app.domain.clock import Clock
from app.domain.outcome.outcome import Outcome
from app.domain.types import MessageStatus, ProfileState
from app.store.db.engine import Database
from app.store.delivery import queue_stats

SECONDS: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200)
OPEN_STATES: Final = (MessageStatus.QUEUED, MessageStatus.SENDING, MessageStatus.HELD)


class Metrics:
    """The metrics of one process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        outcomes = Counter(
            "heloise_recipient_outcomes",
            "Outcomes of recipients by verdict and scope of the failure.",
            ("verdict", "scope"),
            registry=registry,
        )
        attempts = Histogram(
            "heloise_attempt_seconds",
            "Duration of attempts by their last stage.",
            ("stage",),
            buckets=SECONDS,
            registry=registry,
        )
        # Each message is counted by words that are few and always the same.
        self._outcomes_by = cache(outcomes.labels)
        self._attempts_by = cache(attempts.labels)
        self._groups = Histogram(
            "heloise_group_size",
            "Messages per transaction: accepted, claimed, settled.",
            ("work",),
            buckets=SIZES,
            registry=registry,
        )
        self._takeovers = Counter(
            "heloise_lease_takeovers",
            "Messages taken over after their worker's lease expired.",
            registry=registry,
        )
        self._connections = Gauge(
            "heloise_smtp_connections",
            "Open SMTP connections of this process, busy and idle.",
            ("state",),
            registry=registry,
        )
        self._submission_sessions = Counter(
            "heloise_submission_sessions",
            "SMTP submission sessions that have ended.",
            registry=registry,
        )
        self._submission_log_dropped = Counter(
            "heloise_submission_log_dropped",
            "SMTP submission sessions that are not in the log by reason.",
            ("reason",),
            registry=registry,
        )
        self._submission_refusals = Counter(
            "heloise_submission_refusals",
            "Negative replies of SMTP submission by code.",
            ("code",),
            registry=registry,
        )
        self._submission_seconds = Histogram(
            "heloise_submission_store_seconds",
            "Time from the end of a submitted message to the reply 250.",
            buckets=SECONDS,
            registry=registry,
        )
        self._submission_connections = Gauge(
            "heloise_submission_connections",
            "SMTP submission connections of this process.",
            registry=registry,
        )
        self._depth = Gauge(
            "heloise_messages",
            "Unfinished messages in the database.",
            ("status",),
            registry=registry,
        )
        self._oldest = Gauge(
            "heloise_oldest_message_seconds",
            "The age of the oldest unfinished message in the database.",
            ("status",),
            registry=registry,
        )
        self._profiles = Gauge(
            "heloise_profiles", "Profiles in the database.", ("state",), registry=registry
        )

    def record_attempt(self, row: Mapping[str, Any]) -> None:
        """An attempt has ended: the row that is written of it."""
        self._attempts_by(row["stage"]).observe(row["duration_ms"] / 1000)

    def record_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Recipients were decided."""
        for outcome in outcomes:
            scope = outcome.scope.value if outcome.scope else "none"
            self._outcomes_by(outcome.verdict.value, scope).inc()

    def record_group(self, work: str, size: int) -> None:
        """So many were written at once; `work` is accept, claim or settle."""
        self._groups.labels(work).observe(size)

    def record_takeovers(self, count: int) -> None:
        """So many messages were taken over from a worker that stopped."""
        self._takeovers.inc(count)

    def watch_connections(self, look: Callable[[], tuple[int, int]]) -> None:
        """Show from now on what `look` answers: connections in use, and kept warm."""
        self._connections.labels("busy").set_function(lambda: look()[0])
        self._connections.labels("idle").set_function(lambda: look()[1])

    def submission_session(self) -> None:
        """A session of SMTP submission has ended."""
        self._submission_sessions.inc()

    def submission_log_dropped(self, reason: str, count: int) -> None:
        """The log of SMTP sessions left out so many, for a reason: queue, rate or error."""
        self._submission_log_dropped.labels(reason).inc(count)

    def submission_refusal(self, code: int) -> None:
        """SMTP submission replied with 4yz or 5yz."""
        self._submission_refusals.labels(str(code)).inc()

    def submission_stored(self, seconds: float) -> None:
        """A submitted message was stored so many seconds after its end."""
        self._submission_seconds.observe(seconds)

    def watch_submissions(self, count: Callable[[], int]) -> None:
        """Show from now on how many clients are connected."""
        self._submission_connections.set_function(count)

    async def exposition(self) -> bytes:
        """Everything in Prometheus' text format; raises Unavailable where the database is away."""
        async with self._database.reading() as connection:
            depths = await queue_stats.load_queue_depths(connection)
            states = await queue_stats.count_profile_states(connection)
        self._set_depths(depths, self._clock.now())
        for state in ProfileState:
            self._profiles.labels(state.value).set(states.get(state, 0))
        return generate_latest(self._registry)

    def _set_depths(self, depths: Sequence[queue_stats.QueueDepth], now: datetime) -> None:
        depth_by_status = {depth.status: depth for depth in depths}
        for status in OPEN_STATES:
            depth = depth_by_status.get(status)
            age = (now - depth.oldest_at).total_seconds() if depth else 0.0
            self._depth.labels(status.value).set(depth.count if depth else 0)
            self._oldest.labels(status.value).set(max(0.0, age))
