"""What /metrics says while the database is away, and of more profiles than may be named."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.domain.types import RecipientStatus
from app.metrics.collection import Metrics
from app.monitor_server import Monitor
from app.store.db.database import Database
from app.store.migrations.readiness import Readiness
from tests.support.hand_clock import HandClock

pytestmark = pytest.mark.one_database

NOW = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
TOKEN = "a-token-of-more-than-32-characters-for-prometheus"


async def test_the_counts_of_a_process_need_no_database() -> None:
    """So an operator sees that the database is away, and not only that /metrics fails."""
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    metrics = Metrics(database, HandClock(NOW))
    metrics.record_takeover("worker_gone")
    lines = (await metrics.exposition()).decode().splitlines()
    assert "heloise_database_up 0.0" in lines
    assert 'heloise_lease_takeovers_total{reason="worker_gone"} 1.0' in lines
    assert not any(line.startswith("heloise_messages") for line in lines)
    await database.close()


async def test_profiles_beyond_the_limit_are_other(database: Database) -> None:
    """Together, so the number of series stays bounded."""
    metrics = Metrics(database, HandClock(NOW), by=["profile"], max_groups=1)
    for number in (1, 2, 3):
        metrics.record_finished({(RecipientStatus.SENT, "ten_1", f"prf_{number}"): 1})
        metrics.record_sent("ten_1", f"prf_{number}", timedelta(seconds=2), 1)
    lines = (await metrics.exposition()).decode().splitlines()
    assert 'heloise_recipients_total{profile="prf_1",status="sent",tenant="ten_1"} 1.0' in lines
    assert 'heloise_recipients_total{profile="other",status="sent",tenant="other"} 2.0' in lines
    assert 'heloise_time_to_sent_seconds_count{profile="other",tenant="other"} 2.0' in lines


async def ask(monitor: Monitor, path: str, *headers: tuple[bytes, bytes]) -> tuple[int, bytes]:
    """The status and the body of a GET."""
    messages = list[dict[str, Any]]()

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    await monitor({"method": "GET", "path": path, "headers": headers}, None, send)
    return messages[0]["status"], messages[1]["body"]


async def test_a_workers_metrics_ask_for_the_token(database: Database) -> None:
    """As the API's do; its health is nobody's secret."""
    metrics = Metrics(database, HandClock(NOW))
    monitor = Monitor(exposition=metrics.exposition, readiness=Readiness(database), token=TOKEN)
    assert TOKEN not in repr(monitor)
    for headers in ((), ((b"authorization", b"Bearer another"),)):
        status, body = await ask(monitor, "/metrics", *headers)
        assert status == 401
        assert TOKEN.encode() not in body
    authorization = (b"authorization", f"Bearer {TOKEN}".encode())
    assert (await ask(monitor, "/metrics", authorization))[0] == 200
    assert (await ask(monitor, "/readyz"))[0] == 200


async def test_a_worker_without_a_database_is_alive_and_not_ready() -> None:
    """With the reason."""
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    metrics = Metrics(database, HandClock(NOW))
    monitor = Monitor(exposition=metrics.exposition, readiness=Readiness(database))
    assert (await ask(monitor, "/healthz"))[0] == 200
    status, body = await ask(monitor, "/readyz")
    assert status == 503
    assert b"The database cannot be reached." in body
    await database.close()
