"""What `heloise doctor` says of the machine's clock and of who delivers."""

from datetime import UTC, datetime, timedelta

import pytest

from app.diagnostics.ehlo_advice import AdviceStatus
from app.diagnostics.machine_findings import Finding, check_database, check_interpreter
from app.domain.clock import SystemClock
from app.store.db.database import Database
from app.store.delivery import workers
from tests.support.rows import failing_profile, made_profile, made_tenant, queued_message
from tests.support.skewed_clock import SkewedClock

LEASE_SECONDS = 60.0


async def findings(database: Database, skew: timedelta = timedelta(0)) -> dict[str, Finding]:
    """What is found on a machine whose clock is so far off, by the check."""
    findings_of_database = await check_database(
        database, lease_seconds=LEASE_SECONDS, open_sealed=None, clock=SkewedClock(skew)
    )
    return {finding.check: finding for finding in findings_of_database}


async def beat(database: Database, ago: timedelta) -> None:
    """A worker that was last heard of so long ago."""
    seen_at = SystemClock().now() - ago
    async with database.transaction() as connection:
        await workers.record_heartbeat(
            connection, worker_id="wrk_1", hostname="host-1", pid=1, started_at=seen_at, now=seen_at
        )


@pytest.mark.parametrize("minutes", [-5, 5])
async def test_a_clock_that_is_off_is_warned_of(database: Database, minutes: int) -> None:
    """On PostgreSQL, by how much; on SQLite the machine's is the database's own."""
    finding = (await findings(database, timedelta(minutes=minutes)))["clock"]
    if not database.is_postgresql:
        assert finding.status is AdviceStatus.OK
        return
    assert finding.status is AdviceStatus.WARN
    assert "300.0 s" in finding.detail
    assert "NTP" in finding.detail


async def test_a_clock_that_is_right_is_ok(database: Database) -> None:
    """As it is on one machine."""
    assert (await findings(database))["clock"].status is AdviceStatus.OK


async def test_that_nobody_delivers_is_warned_of(database: Database) -> None:
    """With what to run; who has not been heard of for a lease counts as gone."""
    await beat(database, timedelta(seconds=LEASE_SECONDS + 5))
    finding = (await findings(database))["delivery"]
    assert finding.status is AdviceStatus.WARN
    assert "heloise worker" in finding.detail


async def test_queued_mail_that_nobody_delivers_is_a_failure(database: Database) -> None:
    """With since when; the depth and the age of the queue are told apart from that."""
    profile = await made_profile(database, await made_tenant(database))
    assert (await findings(database))["queue"].detail == "no message waits"
    await queued_message(database, profile, created_at=datetime.now(UTC) - timedelta(hours=2))
    by_check = await findings(database)
    assert by_check["delivery"].status is AdviceStatus.FAIL
    assert "mail is queued and nobody delivers, since" in by_check["delivery"].detail
    assert by_check["queue"].status is AdviceStatus.OK
    assert by_check["queue"].detail.startswith("1 queued; 1 due; the oldest is 2:00:")


async def test_a_failing_profile_that_holds_mail_up_is_named(database: Database) -> None:
    """As a warning: its own verification says what is wrong."""
    profile = await failing_profile(database, await made_tenant(database))
    await queued_message(database, profile)
    finding = (await findings(database))["queue"]
    assert finding.status is AdviceStatus.WARN
    assert finding.detail.endswith("failing: main of acme")


async def test_who_delivers_is_told(database: Database) -> None:
    """By the machine's name, though this machine's clock may be off where there are several."""
    await beat(database, timedelta(seconds=1))
    skew = timedelta(minutes=5) if database.is_postgresql else timedelta(0)
    finding = (await findings(database, skew))["delivery"]
    assert finding.status is AdviceStatus.OK
    assert "host-1" in finding.detail


@pytest.mark.parametrize(
    ("configure_arguments", "missing"),
    [
        ("'--enable-shared' '--enable-optimizations' '--with-lto=thin'", None),
        ("'--enable-shared' '--enable-optimizations'", "without LTO"),
        ("'--enable-shared'", "without PGO and LTO"),
        (None, None),  # as on Windows
    ],
)
def test_a_slow_build_of_python_is_warned_of(
    configure_arguments: str | None, missing: str | None
) -> None:
    """With what a faster one is built with."""
    finding = check_interpreter(configure_arguments)
    assert finding.status is (AdviceStatus.OK if missing is None else AdviceStatus.WARN)
    if missing is not None:
        assert missing in finding.detail
        assert "--enable-optimizations --with-lto" in finding.detail
