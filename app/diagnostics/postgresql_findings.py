"""Judge what PostgreSQL says about itself."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final

from app.diagnostics.ehlo_advice import AdviceStatus
from app.diagnostics.machine_findings import MAX_LISTED, Finding, Judgement, format_age
from app.store.db.postgresql_driver import ENCODING
from app.store.health.postgresql import OldTransaction, PostgresqlHealth, TableHealth

# The last release of each major version: https://www.postgresql.org/support/versioning/
END_OF_LIFE: Final[Mapping[int, date]] = {
    13: date(2025, 11, 13),
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}
# Heloise's own transactions take milliseconds; a dump of a small database takes less.
MAX_TRANSACTION_SECONDS: Final = 300
# About a quarter of an hour at 1,000 messages a second.
MAX_HELD_TRANSACTIONS: Final = 1_000_000
# Autovacuum wakes up once a minute: a busy table exceeds its threshold meanwhile.
MIN_DEAD_ROWS: Final = 100_000
MAX_THRESHOLDS: Final = 3
MAX_CONNECTIONS_SHARE: Final = 0.8
UNITS: Final = ("bytes", "kB", "MB", "GB", "TB", "PB")
STEP: Final = 1000


def judge_postgresql(
    health: PostgresqlHealth, *, process_connections: int, now: datetime
) -> list[Finding]:
    """Judge a server; a process opens at most `process_connections` to it."""
    return [
        Finding("server_version", *_judge_version(health.settings, now.astimezone(UTC).date())),
        Finding("encoding", *_judge_encoding(health)),
        Finding("durability", *_judge_durability(health)),
        Finding("connections", *_judge_connections(health, process_connections)),
        Finding("old_transactions", *_judge_transactions(health)),
        Finding("replication", *_judge_replication(health)),
        Finding("autovacuum", *_judge_autovacuum(health)),
        Finding("dead_rows", *_judge_dead_rows(health)),
        Finding("table_sizes", *_describe_tables(health)),
    ]


def _judge_version(settings: Mapping[str, str], today: date) -> Judgement:
    major = int(settings["server_version_num"]) // 10_000
    detail = f"PostgreSQL {settings['server_version']}"
    end = END_OF_LIFE.get(major)
    if end is None and major > max(END_OF_LIFE):
        return AdviceStatus.OK, detail
    if end is None or end < today:
        since = "any more" if end is None else f"since {end}"
        advice = f"{detail} gets no fixes {since}; upgrade to version {max(END_OF_LIFE)}"
        return AdviceStatus.WARN, advice
    return AdviceStatus.OK, f"{detail} gets fixes until {end}"


def _judge_encoding(health: PostgresqlHealth) -> Judgement:
    encoding = health.settings["server_encoding"]
    if encoding != ENCODING:
        detail = f"the encoding is {encoding}; move to a database with ENCODING 'UTF8'"
        return AdviceStatus.FAIL, detail
    if health.has_collation_mismatch:
        return AdviceStatus.WARN, (
            "the system sorts text otherwise than when the indexes were built; run REINDEX DATABASE"
            " and ALTER DATABASE … REFRESH COLLATION VERSION"
        )
    return AdviceStatus.OK, f"{encoding}, and the collation is current"


def _judge_durability(health: PostgresqlHealth) -> Judgement:
    names = ("fsync", "synchronous_commit", "full_page_writes")
    detail = ", ".join(f"{name} is {health.settings[name]}" for name in names)
    if not health.is_durable:
        advice = f"{detail}: a crash loses accepted messages; set fsync and synchronous_commit on"
        return AdviceStatus.FAIL, advice
    if health.settings["full_page_writes"] != "on":
        return AdviceStatus.WARN, (
            f"{detail}: a crash can damage pages; set it on, unless the file system writes pages as"
            " a whole, as ZFS does"
        )
    return AdviceStatus.OK, detail


def _judge_connections(health: PostgresqlHealth, process_connections: int) -> Judgement:
    """Compare what is used, and what the pools of the other processes may open, to the limit."""
    connections = health.connections
    pools = connections.processes * process_connections
    detail = (
        f"{connections.used} of {connections.limit} connections are used;"
        f" {connections.processes} processes of Heloise may open {pools}"
    )
    if max(pools, connections.used / MAX_CONNECTIONS_SHARE) > connections.limit:
        advice = f"{detail}; raise max_connections, or lower HELOISE_DATABASE_POOL_SIZE"
        return AdviceStatus.WARN, advice
    return AdviceStatus.OK, detail


def _judge_transactions(health: PostgresqlHealth) -> Judgement:
    oldest = health.oldest_transaction
    if oldest is not None and oldest.age_seconds > MAX_TRANSACTION_SECONDS:
        return AdviceStatus.WARN, f"{_describe(oldest)} and holds VACUUM back; {_advise(oldest)}"
    if health.hidden_sessions:
        return AdviceStatus.WARN, (
            f"{health.hidden_sessions} sessions of other roles are hidden from Heloise's role;"
            " GRANT pg_read_all_stats to it"
        )
    if oldest is None:
        return AdviceStatus.OK, "no transaction is open"
    return AdviceStatus.OK, f"the oldest: {_describe(oldest)}"


def _describe(transaction: OldTransaction) -> str:
    age = format_age(timedelta(seconds=transaction.age_seconds))
    name = transaction.name or "a session without a name"
    process = f", process {transaction.pid}" if transaction.pid is not None else ""
    state = transaction.state or "unknown"
    return f"{name} (role {transaction.role}{process}) is {state}, in a transaction of {age}"


def _advise(transaction: OldTransaction) -> str:
    if transaction.pid is None:
        return f"run COMMIT PREPARED or ROLLBACK PREPARED '{transaction.name}'"
    advice = f"end it with SELECT pg_terminate_backend({transaction.pid})"
    if transaction.state.startswith("idle in transaction"):
        advice += ", and set idle_in_transaction_session_timeout for its role"
    return advice


def _judge_replication(health: PostgresqlHealth) -> Judgement:
    problems = [
        f"the slot {slot.name} is not used and keeps {format_bytes(slot.retained_bytes)} of WAL and"
        f" the dead rows of {slot.held_transactions} transactions; start its standby, or run SELECT"
        f" pg_drop_replication_slot('{slot.name}')"
        for slot in health.slots
        if not slot.is_active
    ]
    held = {slot.name: slot.held_transactions for slot in health.slots if slot.is_active}
    held |= {standby.name: standby.held_transactions for standby in health.standbys}
    problems += [
        f"{name} holds VACUUM back by {transactions} transactions; end the long queries there, or"
        " set hot_standby_feedback off"
        for name, transactions in held.items()
        if transactions > MAX_HELD_TRANSACTIONS
    ]
    if problems:
        return AdviceStatus.WARN, ". ".join(problems[:MAX_LISTED])
    detail = f"{len(health.slots)} replication slots, all of them used" if health.slots else ""
    return AdviceStatus.OK, detail or "no replication slot"


def _judge_autovacuum(health: PostgresqlHealth) -> Judgement:
    if off := [name for name in ("autovacuum", "track_counts") if health.settings[name] != "on"]:
        return AdviceStatus.WARN, f"{' and '.join(off)} is off, so tables only grow; set it on"
    tables = sorted({table.name for table in health.tables if not table.is_autovacuumed})
    if tables:
        return AdviceStatus.WARN, (
            f"autovacuum is off for {', '.join(tables[:MAX_LISTED])}; run ALTER TABLE … RESET"
            " (autovacuum_enabled)"
        )
    return AdviceStatus.OK, "autovacuum is on"


def _judge_dead_rows(health: PostgresqlHealth) -> Judgement:
    late = sorted(filter(is_vacuum_late, health.tables), key=lambda table: -table.dead_rows)
    if late:
        counts = ", ".join(f"{table.dead_rows} in {table.name}" for table in late[:MAX_LISTED])
        return AdviceStatus.WARN, (
            f"autovacuum is behind; dead rows: {counts}; end what holds VACUUM back, or raise"
            " autovacuum_vacuum_cost_limit"
        )
    total = sum(table.dead_rows for table in health.tables)
    return AdviceStatus.OK, f"{total} dead rows in all tables"


def is_vacuum_late(table: TableHealth) -> bool:
    """Whether autovacuum should have begun long ago."""
    return table.dead_rows > max(MIN_DEAD_ROWS, MAX_THRESHOLDS * table.vacuum_threshold_rows)


def _describe_tables(health: PostgresqlHealth) -> Judgement:
    sizes: dict[str, int] = {}
    for table in health.tables:
        sizes[table.name] = sizes.get(table.name, 0) + table.size_bytes
    largest = sorted(sizes, key=lambda name: -sizes[name])[:MAX_LISTED]
    shown = ", ".join(f"{name} {format_bytes(sizes[name])}" for name in largest)
    wal = (
        "the size of the WAL is hidden; GRANT pg_monitor to Heloise's role to see it"
        if health.wal_bytes is None
        else f"the WAL has {format_bytes(health.wal_bytes)}"
    )
    return AdviceStatus.OK, f"{format_bytes(sum(sizes.values()))} ({shown}); {wal}"


def format_bytes(size: float) -> str:
    """Format a size with a unit, such as `1.2 GB`."""
    unit = UNITS[0]
    for unit in UNITS:  # noqa: B007 - the unit of the last step
        if size < STEP:
            break
        size /= STEP
    return f"{size:.0f} {unit}" if unit == UNITS[0] else f"{size:.1f} {unit}"
