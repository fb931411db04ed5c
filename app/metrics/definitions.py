"""Define the metrics: names, descriptions and labels.

`docs/operations/monitor.md` lists them; a test compares. A grouped metric also gets the labels of
HELOISE_METRICS_BY.
"""

from typing import Final

from app.metrics.series import SIZES, Counter, Gauge, Histogram, Series


class ProcessSeries:
    """The counters and histograms of one process."""

    def __init__(self) -> None:
        self.http_requests = Counter(
            "heloise_http_requests_total",
            "HTTP requests that were answered.",
            *("method", "route", "status"),
        )
        self.http_duration = Histogram(
            "heloise_http_request_duration_seconds",
            "Time until the response to an HTTP request started.",
            *("method", "route"),
        )
        self.accepted = Counter(
            "heloise_messages_accepted_total",
            "Messages that were stored, by the way in.",
            "source",
            is_grouped=True,
        )
        self.recipients = Counter(
            "heloise_recipients_total",
            "Recipients that reached a final status.",
            "status",
            is_grouped=True,
        )
        self.attempts = Counter(
            "heloise_attempts_total",
            "Attempts by the stage where they ended and their verdict.",
            *("stage", "verdict"),
            is_grouped=True,
        )
        self.attempt_duration = Histogram(
            "heloise_attempt_duration_seconds",
            "Duration of attempts by the stage where they ended.",
            "stage",
        )
        self.outcomes = Counter(
            "heloise_recipient_outcomes_total",
            "Outcomes of recipients in attempts by verdict and scope of the failure.",
            *("verdict", "scope"),
        )
        self.retries = Counter(
            "heloise_recipient_retries_total",
            "Recipients that an attempt deferred to a later one.",
            is_grouped=True,
        )
        self.time_to_sent = Histogram(
            "heloise_time_to_sent_seconds",
            "Time from acceptance, or the scheduled time, until a server accepted a recipient.",
            is_grouped=True,
        )
        self.groups = Histogram(
            "heloise_group_size_messages",
            "Messages in one transaction, by its work.",
            "work",
            bounds=SIZES,
        )
        self.takeovers = Counter(
            "heloise_lease_takeovers_total",
            "Messages taken over from another worker, by what ended its lease.",
            "reason",
        )
        self.transactions = Histogram(
            "heloise_database_transaction_duration_seconds",
            "Duration of committed transactions, with the wait for a connection.",
        )
        self.database_errors = Counter(
            "heloise_database_errors_total",
            "Transactions and reads that a fault of the database ended.",
            "kind",
        )
        self.replica_reads = Counter(
            "heloise_database_replica_reads_total",
            "Reads that may lag by their server, if HELOISE_DATABASE_READ_URL is set.",
            "server",
        )
        self.webhook_deliveries = Counter(
            "heloise_webhook_deliveries_total",
            "Posts of events to webhooks by their result.",
            "result",
        )
        self.webhook_duration = Histogram(
            "heloise_webhook_delivery_duration_seconds",
            "Time until a webhook's response.",
        )
        self.mailbox_polls = Counter(
            "heloise_mailbox_polls_total", "Readings of mailboxes by their result.", "result"
        )
        self.submission_sessions = Counter(
            "heloise_submission_sessions_total", "SMTP submission sessions that have ended."
        )
        self.submission_log_dropped = Counter(
            "heloise_submission_log_dropped_total",
            "SMTP submission sessions that are not in the log by reason.",
            "reason",
        )
        self.submission_refusals = Counter(
            "heloise_submission_refusals_total",
            "Negative replies of SMTP submission by code.",
            "code",
        )
        self.submission_store = Histogram(
            "heloise_submission_store_duration_seconds",
            "Time from the end of a submitted message to the reply 250.",
        )

    @property
    def all(self) -> list[Series]:
        """All of them, in this order."""
        return list(vars(self).values())


# Gauges of a process. With several processes, they are sums.
SMTP_CONNECTIONS: Final = Gauge(
    "heloise_smtp_connections", "Open SMTP connections, busy and idle.", "state"
)
LANES: Final = Gauge(
    "heloise_lanes", "Lanes of this process by state: one for each profile with work.", "state"
)
SUBMISSION_CONNECTIONS: Final = Gauge(
    "heloise_submission_connections", "Clients connected to SMTP submission."
)
DATABASE_CONNECTIONS: Final = Gauge(
    "heloise_database_connections", "Database connections, busy and idle.", "state"
)
PROCESS_GAUGES: Final = (SMTP_CONNECTIONS, LANES, SUBMISSION_CONNECTIONS, DATABASE_CONNECTIONS)

# Gauges of the installation, the same in every process.
DATABASE_UP: Final = Gauge("heloise_database_up", "1 if the database answers, else 0.")
DATABASE_RESPONSE: Final = Gauge(
    "heloise_database_response_seconds", "How long the database took to answer a trivial query."
)
DATABASE_SIZE: Final = Gauge("heloise_database_size_bytes", "Size of the database.")
DISK_SIZE: Final = Gauge(
    "heloise_database_disk_size_bytes", "Size of the file system of SQLite's file."
)
DISK_FREE: Final = Gauge(
    "heloise_database_disk_free_bytes", "Free space of the file system of SQLite's file."
)
# Of the database's health, read once a minute.
DURABLE: Final = Gauge(
    "heloise_database_durable", "1 if a commit survives a crash of the machine, else 0."
)
WAL_SIZE: Final = Gauge("heloise_database_wal_size_bytes", "Size of the write-ahead log.")
TABLE_SIZE: Final = Gauge(
    "heloise_database_table_size_bytes", "Size of a table of PostgreSQL with its indexes.", "table"
)
LIVE_ROWS: Final = Gauge(
    "heloise_database_live_rows", "Estimated live rows of a table of PostgreSQL.", "table"
)
DEAD_ROWS: Final = Gauge(
    "heloise_database_dead_rows", "Estimated dead rows of a table of PostgreSQL.", "table"
)
OLDEST_TRANSACTION: Final = Gauge(
    "heloise_database_oldest_transaction_age_seconds",
    "Age of the oldest open transaction in the database of PostgreSQL.",
)
REPLICATION_SLOTS: Final = Gauge(
    "heloise_database_replication_slots", "Replication slots of PostgreSQL by state.", "state"
)
RETAINED_WAL: Final = Gauge(
    "heloise_database_replication_slot_retained_bytes",
    "WAL that the replication slot furthest behind retains.",
)
SERVER_CONNECTIONS: Final = Gauge(
    "heloise_database_server_connections", "Connections of all programs to PostgreSQL."
)
SERVER_CONNECTIONS_LIMIT: Final = Gauge(
    "heloise_database_server_connections_limit",
    "Connections that PostgreSQL allows to the role of Heloise.",
)
OLDEST_PURGE: Final = Gauge(
    "heloise_oldest_purge_age_seconds",
    "Time since retention finished with the tenant that it purged longest ago.",
)
MESSAGES: Final = Gauge(
    "heloise_messages", "Unfinished messages by status.", "status", is_grouped=True
)
OLDEST_MESSAGE: Final = Gauge(
    "heloise_oldest_message_age_seconds",
    "How long the oldest unfinished message could have been sent, by status.",
    "status",
    is_grouped=True,
)
PROFILES: Final = Gauge("heloise_profiles", "Profiles by state.", "state", is_grouped=True)
WORKERS: Final = Gauge("heloise_workers", "Processes that deliver.")
WEBHOOK_BACKLOG: Final = Gauge(
    "heloise_webhook_pending_deliveries", "Events that wait for an enabled webhook's acceptance."
)
WEBHOOK_LAG: Final = Gauge(
    "heloise_webhook_lag_seconds", "Age of the oldest event that an enabled webhook has not got."
)
BUILD_INFO: Final = Gauge(
    "heloise_build_info", "1; the labels say what runs.", "version", "python", "database"
)
DATABASE_GAUGES: Final = tuple(
    gauge
    for gauge in tuple(globals().values())
    if isinstance(gauge, Gauge) and gauge not in PROCESS_GAUGES
)
