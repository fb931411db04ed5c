"""Check the database behind Heloise: what endangers it, slows it down or fills it."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from app.diagnostics.ehlo_advice import AdviceStatus
from app.diagnostics.machine_findings import MAX_LISTED, Finding, Judgement, format_age
from app.diagnostics.postgresql_findings import format_bytes, judge_postgresql
from app.domain.errors import Unavailable
from app.domain.tenants.retention import Retention
from app.store import retention as purging
from app.store.db.clock import DatabaseClock
from app.store.db.database import Database
from app.store.health.postgresql import load_postgresql_health
from app.store.health.sqlite import SqliteHealth, load_sqlite_health

CHECK_SECONDS: Final = 15.0
MAX_TENANTS: Final = 100
# Retention works through all tenants once an hour.
RETENTION_SLACK: Final = timedelta(days=1)
MIN_FREE_SHARE: Final = 0.1
FULL_SHARE: Final = 0.01
# SQLite writes its log back from 4 MB on, unless a reader holds it up.
MAX_WAL_BYTES: Final = 256 * 1024 * 1024
# SQLite's log is shared memory of one machine, and few of these keep locks:
# https://www.sqlite.org/wal.html
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs"}
)
FUSE: Final = "fuse"


async def check_health(
    database: Database, *, default_retention: Retention, process_connections: int
) -> list[Finding]:
    """Check a database whose schema is current; never raises Unavailable.

    A process opens at most `process_connections` to it.
    """
    clock = DatabaseClock(database)
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await clock.measure()
            now = clock.now()
            async with database.reading(is_analytic=True) as connection:
                if (path := database.file_path) is None:
                    postgresql = await load_postgresql_health(connection)
                    findings = judge_postgresql(
                        postgresql, process_connections=process_connections, now=now
                    )
                else:
                    findings = judge_sqlite(await load_sqlite_health(connection, path))
                overdue = await purging.load_overdue(
                    connection,
                    default=default_retention,
                    before=now - RETENTION_SLACK,
                    limit=MAX_TENANTS,
                )
    except (Unavailable, TimeoutError):
        detail = "the database did not answer in time; run `heloise doctor` again"
        return [Finding("database_health", AdviceStatus.WARN, detail)]
    return [*findings, Finding("retention", *_judge_retention(overdue, now))]


def judge_sqlite(health: SqliteHealth) -> list[Finding]:
    """Judge a file of SQLite."""
    return [
        Finding("durability", *_judge_journal(health)),
        Finding("file_system", *_judge_file_system(health)),
        Finding("disk", *_judge_disk(health)),
        Finding("write_ahead_log", *_judge_wal(health)),
    ]


def _judge_journal(health: SqliteHealth) -> Judgement:
    detail = f"journal_mode is {health.journal_mode}, synchronous is {health.synchronous}"
    if not health.is_durable:
        advice = f"{detail}: a crash loses accepted messages; restart Heloise, which sets it full"
        return AdviceStatus.FAIL, advice
    if health.journal_mode != "wal":
        return AdviceStatus.WARN, (
            f"{detail}: readers and writers wait for each other; move the file to a local file"
            " system, and restart Heloise, which sets it wal"
        )
    return AdviceStatus.OK, detail


def _judge_file_system(health: SqliteHealth) -> Judgement:
    name = health.file_system
    if name is None:
        return AdviceStatus.OK, "this system does not say; keep the file on a local file system"
    if name in NETWORK_FILE_SYSTEMS:
        return AdviceStatus.FAIL, (
            f"{name} is a network file system, which can damage the file; move it to a local disk,"
            " or use PostgreSQL"
        )
    if name.partition(".")[0] == FUSE:
        detail = f"{name} may not keep SQLite's locks; move the file to a local disk"
        return AdviceStatus.WARN, detail
    return AdviceStatus.OK, f"{name} is a local file system"


def _judge_disk(health: SqliteHealth) -> Judgement:
    free, size = health.disk_free_bytes, health.disk_size_bytes
    detail = f"{format_bytes(free)} of {format_bytes(size)} are free"
    if free < MIN_FREE_SHARE * size:
        status = AdviceStatus.FAIL if free < FULL_SHARE * size else AdviceStatus.WARN
        return status, f"{detail}; enlarge the disk, or shorten HELOISE_CONTENT_RETENTION_DAYS"
    return AdviceStatus.OK, detail


def _judge_wal(health: SqliteHealth) -> Judgement:
    detail = f"the write-ahead log has {format_bytes(health.wal_bytes)}"
    if health.wal_bytes > MAX_WAL_BYTES:
        advice = f"{detail}: a reader holds it up; end other programs that read the file"
        return AdviceStatus.WARN, advice
    return AdviceStatus.OK, detail


def _judge_retention(overdue: list[purging.Overdue], now: datetime) -> Judgement:
    if not overdue:
        return AdviceStatus.OK, "no message is past its retention"
    late = ", ".join(
        f"{tenant.tenant} by {format_age(now - tenant.since)}" for tenant in overdue[:MAX_LISTED]
    )
    detail = f"messages are still there past their retention, of {late}; run `heloise purge`"
    return AdviceStatus.WARN, detail
