"""`heloise doctor` finds the faults of a PostgreSQL server, and says what to do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import make_url

from app.diagnostics import database_findings, postgresql_findings
from app.diagnostics.ehlo_advice import AdviceStatus
from app.diagnostics.machine_findings import Finding
from app.diagnostics.postgresql_findings import END_OF_LIFE, judge_postgresql
from app.store.db.database import Database
from app.store.health.postgresql import (
    OldTransaction,
    PostgresqlHealth,
    Standby,
    load_postgresql_health,
)
from tests.diagnostics.test_database_findings import findings, warns
from tests.support.rows import NOW, made_tenant
from tests.support.waiting import until

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.parametrize("backend", ["postgresql"], indirect=True),
]
DAY = timedelta(days=1)


async def fresh_findings(url: str) -> dict[str, Finding]:
    """Return the findings over new connections."""
    database = Database(url)
    try:
        return await findings(database)
    finally:
        await database.close()


@asynccontextmanager
async def altered(url: str, do: str, undo: str) -> AsyncIterator[asyncpg.Connection]:
    """Change the server for the time of the block."""
    connection = await asyncpg.connect(url)
    name = f'"{make_url(url).database}"'
    try:
        await connection.execute(do.format(name=name))
        yield connection
        await connection.execute(undo.format(name=name))
    finally:
        await connection.close()


async def load_health(database: Database) -> PostgresqlHealth:
    """Measure the server."""
    async with database.reading(is_analytic=True) as connection:
        return await load_postgresql_health(connection)


def judge(health: PostgresqlHealth, now: datetime = NOW) -> dict[str, Finding]:
    """Return the findings for a measurement, by check."""
    judged_findings = judge_postgresql(health, process_connections=21, now=now)
    return {finding.check: finding for finding in judged_findings}


async def _reload(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


async def test_commits_that_do_not_wait_for_the_disk_are_a_failure(migrated_url: str) -> None:
    """The database has a setting of its own for new sessions (invariant 1)."""
    off = "ALTER DATABASE {name} SET synchronous_commit = off"
    async with altered(migrated_url, off, "ALTER DATABASE {name} RESET synchronous_commit"):
        finding = (await fresh_findings(migrated_url))["durability"]
    assert finding.status is AdviceStatus.FAIL
    assert "synchronous_commit is off" in finding.detail


async def test_an_old_transaction_is_named(
    database: Database, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finding names its program, role, process and state, and how to end it."""
    settings = {"application_name": "a-report"}
    connection = await asyncpg.connect(migrated_url, server_settings=settings)
    try:
        await connection.execute("BEGIN")
        await connection.execute("SELECT count(*) FROM messages")
        finding = (await findings(database))["old_transactions"]
        assert finding.status is AdviceStatus.OK
        assert "a-report (role heloise, process" in finding.detail
        monkeypatch.setattr(postgresql_findings, "MAX_TRANSACTION_SECONDS", 0)
        finding = (await findings(database))["old_transactions"]
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        assert warns(finding, "is idle in transaction", f"pg_terminate_backend({pid})")
        assert "idle_in_transaction_session_timeout" in finding.detail
    finally:
        await connection.close()


async def test_a_transaction_at_work_gets_no_advice_for_idle_ones(database: Database) -> None:
    """`idle_in_transaction_session_timeout` would not end it."""
    active = OldTransaction(pid=7, name="report", role="bi", state="active", age_seconds=600)
    health = replace(await load_health(database), oldest_transaction=active)
    finding = judge(health)["old_transactions"]
    assert warns(finding, "is active", "pg_terminate_backend(7)")
    assert "idle_in_transaction" not in finding.detail


async def test_what_the_role_may_not_see_is_reported(migrated_url: str) -> None:
    """The finding is not `ok`, and says which right is missing."""
    other = await asyncpg.connect(migrated_url)
    url = make_url(migrated_url).set(username="narrow", password="narrow")
    await other.execute("CREATE ROLE narrow LOGIN PASSWORD 'narrow'")
    try:
        await other.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO narrow")
        by_check = await fresh_findings(url.render_as_string(hide_password=False))
        assert warns(by_check["old_transactions"], "are hidden", "GRANT pg_read_all_stats")
        assert "GRANT pg_monitor" in by_check["table_sizes"].detail
        await other.execute("GRANT pg_monitor TO narrow")
        by_check = await fresh_findings(url.render_as_string(hide_password=False))
        assert by_check["old_transactions"].status is AdviceStatus.OK
        assert "the WAL has" in by_check["table_sizes"].detail
    finally:
        await other.execute("DROP OWNED BY narrow; DROP ROLE narrow")
        await other.close()


async def test_autovacuum_that_is_off_is_reported(database: Database, migrated_url: str) -> None:
    """It may be off for the server or for one table."""
    off = "ALTER TABLE recipients SET (autovacuum_enabled = off)"
    on = "ALTER TABLE recipients RESET (autovacuum_enabled)"
    async with altered(migrated_url, off, on):
        assert warns((await findings(database))["autovacuum"], "recipients", "RESET")
    off, on = "ALTER SYSTEM SET autovacuum = off", "ALTER SYSTEM RESET autovacuum"
    async with altered(migrated_url, off, on) as connection:
        await connection.execute("SELECT pg_reload_conf()")

        async def has_warned() -> bool | None:
            finding = (await findings(database))["autovacuum"]
            return warns(finding, "autovacuum is off", "set it on") or None

        assert await until(has_warned)
    await _reload(migrated_url)


async def test_dead_rows_that_nobody_vacuums_are_reported(
    database: Database, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finding counts them by table; a few dead rows are no fault."""
    monkeypatch.setattr(postgresql_findings, "MIN_DEAD_ROWS", 100)
    off = "ALTER TABLE tenants SET (autovacuum_enabled = off)"
    on = "ALTER TABLE tenants RESET (autovacuum_enabled)"
    async with altered(migrated_url, off, on) as connection:
        await connection.execute("VACUUM")  # what other tests have left
        await made_tenant(database)
        for _ in range(20):
            await connection.execute(
                "UPDATE tenants SET slug = 'acme' || n FROM generate_series(1, 1) n"
            )
        assert (await findings(database))["dead_rows"].status is AdviceStatus.OK
        await connection.execute(
            "INSERT INTO audit_log (id, at, actor_kind, action, changes)"
            " SELECT n::text, now(), 'admin', 'test', '{}' FROM generate_series(1, 1000) n"
        )
        await connection.execute("ALTER TABLE audit_log SET (autovacuum_enabled = off)")
        await connection.execute("DELETE FROM audit_log")
        await connection.execute("SELECT pg_stat_force_next_flush()")

        async def has_warned() -> bool | None:
            finding = (await findings(database))["dead_rows"]
            return warns(finding, "1000 in audit_log", "VACUUM") or None

        assert await until(has_warned)
        await connection.execute("ALTER TABLE audit_log RESET (autovacuum_enabled)")


async def test_pools_that_may_need_more_than_the_server_allows_are_reported(
    database: Database, migrated_url: str
) -> None:
    """The names of the sessions tell the processes apart."""
    few, all_ = (f"ALTER DATABASE {{name}} CONNECTION LIMIT {limit}" for limit in (20, -1))
    named = {"application_name": "heloise-other-1"}
    async with altered(migrated_url, few, all_):
        assert "0 processes" in (await findings(database))["connections"].detail
        other = await asyncpg.connect(migrated_url, server_settings=named)
        try:
            finding = (await findings(database))["connections"]
        finally:
            await other.close()
    assert warns(finding, "of 20 connections", "1 processes of Heloise may open 21")


async def test_another_order_of_text_is_reported(database: Database, migrated_url: str) -> None:
    """An upgrade of the operating system can change the order below the indexes."""
    old = "UPDATE pg_database SET datcollversion = '0' WHERE datname = current_database()"
    now = "UPDATE pg_database SET datcollversion = NULL WHERE datname = current_database()"
    async with altered(migrated_url, old, now):
        assert warns((await findings(database))["encoding"], "REINDEX")


async def test_versions_without_fixes_are_reported(database: Database) -> None:
    """The calendar decides; a version that is newer than the table is no fault."""
    health = await load_health(database)
    for number, today, is_ok in [
        (170010, END_OF_LIFE[17], True),
        (170010, END_OF_LIFE[17] + DAY, False),
        (120022, date(2026, 1, 1), False),
        (190001, date(2040, 1, 1), True),
    ]:
        settings = {**health.settings, "server_version_num": str(number)}
        now = datetime.combine(today, datetime.min.time(), UTC)
        finding = judge(replace(health, settings=settings), now)["server_version"]
        assert (finding.status is AdviceStatus.OK) is is_ok, finding


async def test_a_standby_that_holds_vacuum_back_is_reported(database: Database) -> None:
    """Its feedback keeps dead rows for its queries."""
    standby = Standby(name="east", held_transactions=2_000_000)
    health = replace(await load_health(database), standbys=[standby])
    assert warns(judge(health)["replication"], "east holds VACUUM back", "hot_standby_feedback")


async def test_a_database_that_answers_late_is_reported(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a warning, and the doctor goes on."""
    monkeypatch.setattr(database_findings, "CHECK_SECONDS", 0)
    assert warns((await findings(database))["database_health"], "did not answer in time")
