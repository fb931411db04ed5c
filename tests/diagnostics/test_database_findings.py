"""`heloise doctor` finds messages past their retention, and faults of SQLite's file."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from app.diagnostics import database_findings
from app.diagnostics.database_findings import check_health, judge_sqlite
from app.diagnostics.ehlo_advice import AdviceStatus
from app.diagnostics.machine_findings import Finding
from app.diagnostics.postgresql_findings import format_bytes
from app.domain.tenants.retention import Retention
from app.store.db.database import Database
from app.store.health.sqlite import SqliteHealth, find_file_system
from app.store.tables.core import messages
from tests.support.rows import NOW, made_profile, made_tenant, queued_message

DAY = timedelta(days=1)
YEAR = Retention(message_days=365)
SOUND = {
    "sqlite": {"durability", "file_system", "disk", "write_ahead_log", "retention"},
    "postgresql": {
        *("server_version", "encoding", "durability", "connections", "old_transactions"),
        *("replication", "autovacuum", "dead_rows", "table_sizes", "retention"),
    },
}


async def findings(database: Database) -> dict[str, Finding]:
    """Return the findings by check."""
    database_findings = await check_health(database, default_retention=YEAR, process_connections=21)
    return {finding.check: finding for finding in database_findings}


def warns(finding: Finding, *words: str) -> bool:
    """Return whether a finding is a warning with these words."""
    return finding.status is AdviceStatus.WARN and all(word in finding.detail for word in words)


async def test_a_sound_database_is_ok(database: Database, backend: str) -> None:
    """Each check says what it measured. The PostgreSQL of the tests runs without fsync."""
    findings_by_check = await findings(database)
    assert set(findings_by_check) == SOUND[backend]
    faults = {
        check
        for check, finding in findings_by_check.items()
        if finding.status is not AdviceStatus.OK
    }
    assert faults == ({"durability"} if database.is_postgresql else set())
    assert all(finding.detail for finding in findings_by_check.values())
    if database.is_postgresql:
        assert findings_by_check["durability"].status is AdviceStatus.FAIL
        assert "fsync is off" in findings_by_check["durability"].detail


@pytest.mark.parametrize("days", [366, 368])
async def test_messages_past_their_retention_are_reported(database: Database, days: int) -> None:
    """The finding names the tenant, a day after the time: retention runs once an hour."""
    profile = await made_profile(database, await made_tenant(database))
    created_at = datetime.now(UTC) - days * DAY + timedelta(hours=1)
    await queued_message(database, profile, created_at=created_at)
    assert (await findings(database))["retention"].status is AdviceStatus.OK  # not finished
    values = {"status": "sent", "finished_at": NOW, "due_at": None}
    async with database.transaction() as connection:
        await connection.execute(update(messages).values(values))
    finding = (await findings(database))["retention"]
    if days == 366:
        assert finding.status is AdviceStatus.OK
    else:
        assert warns(finding, "acme by 2 days", "heloise purge")


@pytest.mark.one_database
async def test_a_log_that_a_reader_holds_up_is_reported(database: Database) -> None:
    """SQLite usually keeps it at 4 MB."""
    path = database.file_path
    assert path is not None
    async with database.transaction() as connection:
        await connection.execute(text("PRAGMA user_version = 1"))
    os.truncate(f"{path}-wal", database_findings.MAX_WAL_BYTES + 1)
    assert warns((await findings(database))["write_ahead_log"], "268.4 MB", "reader")


def judged(**changes: Any) -> dict[str, Finding]:
    """Return the findings for a sound file with these changes."""
    health = SqliteHealth(
        journal_mode="wal",
        synchronous="full",
        file_system="ext4",
        wal_bytes=0,
        disk_free_bytes=50,
        disk_size_bytes=100,
    )
    return {finding.check: finding for finding in judge_sqlite(replace(health, **changes))}


@pytest.mark.parametrize(
    ("changes", "check", "status"),
    [
        ({}, "durability", "ok"),
        ({"synchronous": "normal"}, "durability", "failed"),
        ({"journal_mode": "delete"}, "durability", "warning"),
        ({"file_system": "nfs4"}, "file_system", "failed"),
        ({"file_system": "cifs"}, "file_system", "failed"),
        ({"file_system": "fuse.sshfs"}, "file_system", "warning"),
        ({"file_system": "fuseblk"}, "file_system", "ok"),
        ({"file_system": None}, "file_system", "ok"),
        ({"disk_free_bytes": 10}, "disk", "ok"),
        ({"disk_free_bytes": 9}, "disk", "warning"),
        ({"disk_free_bytes": 0}, "disk", "failed"),
    ],
)
def test_files_that_are_badly_kept_are_reported(
    changes: dict[str, Any], check: str, status: str
) -> None:
    """What loses mail fails; what is slow or doubtful warns."""
    assert judged(**changes)[check].status == status


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /mail rw - nfs4 server:/mail rw,vers=4.2
31 30 254:0 / /mail/local\\040disk rw - xfs /dev/vdb rw
32 22 0:26 / /mnt rw - cifs //server/share rw
33 22 0:27 / /mnt rw master:3 propagate_from:2 - btrfs /dev/vdc rw
"""


@pytest.mark.parametrize(
    ("path", "file_system"),
    [
        ("/var/heloise.db", "ext4"),
        ("/mailbox/heloise.db", "ext4"),
        ("/mail/heloise.db", "nfs4"),
        ("/mail/local disk/heloise.db", "xfs"),
        ("/mnt/heloise.db", "btrfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(path: str, file_system: str) -> None:
    """If two are mounted at one place, the later one counts."""
    assert find_file_system(Path(path), MOUNTS) == file_system


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (2.5e9, "2.5 GB"), (3e15, "3.0 PB")],
)
def test_sizes_are_shown_with_a_unit(size: float, shown: str) -> None:
    """Units are steps of a thousand."""
    assert format_bytes(size) == shown
