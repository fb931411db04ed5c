"""Collect the metrics of a process from facts that lower layers emit, and render them.

Everything that counts runs on the event loop.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.process_collector import ProcessCollector

from app.domain.clock import Clock
from app.domain.errors import Unavailable
from app.domain.outcome.outcome import Outcome
from app.domain.types import NewMessage
from app.metrics import definitions as gauges
from app.metrics.database_gauges import Installation
from app.metrics.definitions import DATABASE_GAUGES, PROCESS_GAUGES, ProcessSeries
from app.metrics.grouping import Grouping
from app.metrics.health import HealthGauges
from app.metrics.series import Families, Gauge, Labels, Rows, Series, add_rows
from app.metrics.sharing import SHARE_SECONDS, SharedCounts
from app.store.db.database import Database
from app.store.db.transaction_observer import DatabaseObserver, Finished
from app.store.delivery import gauges as queries

ReadGauge = Callable[[], Mapping[Labels, float]]
DEFAULT_LEASE: Final = timedelta(minutes=1)
MAX_GROUPS: Final = 100


class MessageLog(Protocol):
    """Logs messages one by one."""

    def record_accepted(self, message: NewMessage) -> None:
        """Log that a message was stored."""
        ...

    def record_attempt(self, row: Mapping[str, Any], profile_name: str) -> None:
        """Log that an attempt ended, with its row of `attempts`."""
        ...


class Metrics(DatabaseObserver):
    """The metrics of one process; with `shared`, of all processes of one `serve`.

    `by` names the labels that the operator wants, `tenant` and `profile`, with at most `max_groups`
    different values. `message_log` gets each message and attempt.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        by: Collection[str] = (),
        max_groups: int = MAX_GROUPS,
        lease: timedelta = DEFAULT_LEASE,
        shared: SharedCounts | None = None,
        message_log: MessageLog | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._grouping = Grouping(by, max_groups)
        self._installation = Installation(database=database, grouping=self._grouping, lease=lease)
        self._health = HealthGauges(database)
        self._shared = shared
        self._message_log = message_log
        self._series = ProcessSeries()
        self._gauges: dict[Gauge, ReadGauge] = {
            gauges.DATABASE_CONNECTIONS: lambda: _states(database.count_connections())
        }
        self._process = CollectorRegistry()
        if shared is None:
            ProcessCollector(registry=self._process)
        else:
            for series in self._series.all:
                add_rows(series.rows, _parse(shared.load_own().get(series.name, ())))

    def record_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record that the response to an HTTP request started after so long."""
        self._series.http_requests.add((method, route, str(status)))
        self._series.http_duration.observe(seconds, (method, route))

    def record_accepted(self, messages: Iterable[NewMessage]) -> None:
        """Record messages that were stored."""
        for message in messages:
            group = self._grouping.find(message.tenant_id, message.profile_id)
            self._series.accepted.add((message.origin.source.value, *group))
            if self._message_log is not None:
                self._message_log.record_accepted(message)

    def record_attempt(self, row: Mapping[str, Any], profile_name: str) -> None:
        """Record an attempt that ended, with its row of `attempts`."""
        if self._message_log is not None:
            self._message_log.record_attempt(row, profile_name)
        stage = row["stage"]
        group = self._grouping.find(row["tenant_id"], row["profile_id"])
        self._series.attempts.add((stage, row["verdict"], *group))
        self._series.attempt_duration.observe(row["duration_ms"] / 1000, (stage,))

    def record_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Record the outcomes of recipients."""
        for outcome in outcomes:
            scope = outcome.scope.value if outcome.scope else "none"
            self._series.outcomes.add((outcome.verdict.value, scope))

    def record_sent(
        self, tenant_id: str, profile_id: str, waited: timedelta, recipient_count: int
    ) -> None:
        """Record recipients that a server accepted, so long after they could be sent."""
        group = self._grouping.find(tenant_id, profile_id)
        seconds = max(0.0, waited.total_seconds())
        self._series.time_to_sent.observe(seconds, group, recipient_count)

    def record_retries(self, tenant_id: str, profile_id: str, recipient_count: int) -> None:
        """Record recipients that Heloise tries again later."""
        self._series.retries.add(self._grouping.find(tenant_id, profile_id), recipient_count)

    def record_group(self, work: str, size: int) -> None:
        """Record the size of a transaction; `work` is accept, claim or settle."""
        self._series.groups.observe(size, (work,))

    def record_takeover(self, reason: str) -> None:
        """Record a message taken over; `reason` is worker_gone or lease_expired."""
        self._series.takeovers.add((reason,))

    def record_transaction(self, seconds: float) -> None:
        """Record a committed transaction, with the wait for its connection."""
        self._series.transactions.observe(seconds)

    def record_database_error(self, kind: str) -> None:
        """Record a transaction or a read that a fault of the database ended."""
        self._series.database_errors.add((kind,))

    def record_replica_read(self, server: str) -> None:
        """Record a read that may lag, and whether the standby or the primary served it."""
        self._series.replica_reads.add((server,))

    def record_finished(self, finished: Finished) -> None:
        """Record the recipients that a committed transaction finished."""
        for (status, tenant_id, profile_id), count in finished.items():
            group = self._grouping.find(tenant_id, profile_id)
            self._series.recipients.add((status.value, *group), count)

    def record_webhook(self, result: str, seconds: float) -> None:
        """Record the response of a webhook."""
        self._series.webhook_deliveries.add((result,))
        self._series.webhook_duration.observe(seconds)

    def record_mailbox_poll(self, result: str) -> None:
        """Record the reading of a mailbox."""
        self._series.mailbox_polls.add((result,))

    def submission_session(self) -> None:
        """Record the end of a session of SMTP submission."""
        self._series.submission_sessions.add()

    def submission_log_dropped(self, reason: str, count: int) -> None:
        """Record sessions that are not in the log, for a reason: queue, rate or error."""
        self._series.submission_log_dropped.add((reason,), count)

    def submission_refusal(self, code: int) -> None:
        """Record a reply 4yz or 5yz of SMTP submission."""
        self._series.submission_refusals.add((str(code),))

    def submission_stored(self, seconds: float) -> None:
        """Record a submitted message, stored so many seconds after its end."""
        self._series.submission_store.observe(seconds)

    def watch_delivery(
        self,
        count_connections: Callable[[], tuple[int, int]],
        count_lanes: Callable[[], Mapping[str, int]],
    ) -> None:
        """Show from now on the SMTP connections, in use and kept warm, and the lanes by state."""
        self._gauges[gauges.SMTP_CONNECTIONS] = lambda: _states(count_connections())
        self._gauges[gauges.LANES] = lambda: {
            (state,): count for state, count in count_lanes().items()
        }

    def watch_submissions(self, count: Callable[[], int]) -> None:
        """Show from now on how many clients are connected."""
        self._gauges[gauges.SUBMISSION_CONNECTIONS] = lambda: {(): count()}

    async def share(self) -> None:
        """Share the counts with the other processes, until cancelled."""
        assert self._shared is not None  # noqa: S101 - otherwise there is nobody to share with
        try:
            while True:
                self._store(self._shared)
                await asyncio.sleep(SHARE_SECONDS)
        finally:
            self._store(self._shared)

    @property
    def is_shared(self) -> bool:
        """Whether other processes count too."""
        return self._shared is not None

    async def exposition(self) -> bytes:
        """Render everything in Prometheus' text format, whatever the database does."""
        values = await self._installation.load(self._clock.now())
        if values.get(gauges.DATABASE_UP) == {(): 1}:
            values |= await self._health.load(self._clock.now())
        shown = self._sum_processes()
        shown |= {gauge: _make_rows(values[gauge]) for gauge in DATABASE_GAUGES if gauge in values}
        names = await self._load_names(shown)
        families = [
            series.build_family(
                self._grouping.rename(rows, names) if series.is_grouped else rows,
                self._grouping.labels,
            )
            for series, rows in shown.items()
        ]
        return generate_latest(self._process) + generate_latest(Families(families))

    def _sum_processes(self) -> dict[Series, Rows]:
        """Add up the counts and gauges of all processes; omit those without numbers."""
        if self._shared is None:
            sums = {series: series.rows for series in self._series.all}
            sums |= {
                gauge: _make_rows(self._gauges[gauge]())
                for gauge in PROCESS_GAUGES
                if gauge in self._gauges
            }
        else:
            self._store(self._shared)
            sums = {series: {} for series in (*self._series.all, *PROCESS_GAUGES)}
            for numbers in (*self._shared.load_counts(), *self._shared.load_gauges()):
                for series, rows in sums.items():
                    add_rows(rows, _parse(numbers.get(series.name, ())))
        return {series: rows for series, rows in sums.items() if rows}

    def _store(self, shared: SharedCounts) -> None:
        counts = {series.name: list(series.rows.items()) for series in self._series.all}
        values = {gauge.name: [*_make_rows(read()).items()] for gauge, read in self._gauges.items()}
        shared.store(counts, values)

    async def _load_names(self, shown: Mapping[Series, Rows]) -> Mapping[str, str]:
        """Load the names of the tenants and profiles that labels hold."""
        size = len(self._grouping.labels)
        if not size:
            return {}
        grouped = [rows for series, rows in shown.items() if series.is_grouped]
        ids = {value for rows in grouped for labels in rows for value in labels[-size:]}
        try:
            async with self._database.reading() as connection:
                return await queries.load_names(connection, ids)
        except Unavailable:
            return {}


def _states(counts: tuple[int, int]) -> Mapping[Labels, float]:
    busy, idle = counts
    return {("busy",): busy, ("idle",): idle}


def _make_rows(values: Mapping[Labels, float]) -> Rows:
    return {labels: [value] for labels, value in values.items()}


def _parse(rows: Iterable[tuple[Sequence[str], list[float]]]) -> Rows:
    return {tuple(labels): row for labels, row in rows}
