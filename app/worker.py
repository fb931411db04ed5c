"""Make and run the parts of delivery, in `heloise worker` or the API's process.

Imports nothing of the API, so a worker starts without FastAPI.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final

from app import process, tracing
from app.accept.profile_notices import Notifier
from app.delivery.engine import Engine
from app.delivery.engine_parts import EngineConfig, SyncClock
from app.delivery.lane_config import LaneConfigFactory
from app.delivery.maintenance import RENEWALS_PER_LEASE
from app.domain.clock import Clock
from app.domain.errors import SettingsError, Unavailable
from app.inbound.poller import Poller
from app.message_log import MessageLog
from app.metrics.collection import Metrics
from app.metrics.sharing import open_shared_counts
from app.sending_services import Parts, make_parts
from app.settings.model import Settings, variable_name
from app.store.db.clock import DatabaseClock
from app.store.db.database import Database
from app.store.db.replica import Replica
from app.store.migrations.readiness import Readiness
from app.webhooks.dispatcher import Dispatcher

log = logging.getLogger(__name__)

BLOCKED_PAUSE: Final = timedelta(seconds=5)

Companion = Dispatcher | Poller | Notifier


async def run_worker(
    settings: Settings, *, clock: Clock | None = None, hostname: str | None = None
) -> None:
    """Deliver until cancelled, then finish what is being transmitted."""
    from app.monitor_server import Monitor, serve_monitor  # the API's process needs no uvicorn here

    hostname = hostname or process.find_hostname()
    async with AsyncExitStack() as stack:
        database = open_database(settings)
        clock = clock or DatabaseClock(database)
        stack.push_async_callback(tracing.flush)
        stack.push_async_callback(database.close)
        message_log = make_message_log(settings)
        stack.callback(message_log.flush)
        metrics = make_metrics(settings, database, clock, message_log)
        parts = make_parts(settings, database, clock, hostname)
        engine = make_engine(settings, metrics, parts)
        companions = make_companions(settings, engine, metrics, parts)
        monitor = Monitor(
            exposition=metrics.exposition,
            readiness=Readiness(database),
            token=settings.metrics_secret(),
        )
        await stack.enter_async_context(
            serve_monitor(
                monitor,
                host=settings.host,
                port=settings.worker_port,
                variable=variable_name("worker_port"),
            )
        )
        await stack.enter_async_context(_run_all(engine, *companions))
        await asyncio.Event().wait()


@asynccontextmanager
async def deliver_when_ready(
    engine: Engine, companions: Sequence[Companion], readiness: Readiness, clock: Clock
) -> AsyncIterator[None]:
    """Deliver while the block runs, as soon as the schema is at head.

    Raises SettingsError if the schema is at head and delivery is not allowed. Once the block runs,
    logs this instead, and tries again until it is.
    """

    async def wait_and_run() -> None:
        await readiness.wait_ready()
        async with AsyncExitStack() as stack:
            while True:
                try:
                    await stack.enter_async_context(_run_all(engine, *companions))
                except (SettingsError, Unavailable) as error:
                    log.error("cannot deliver yet: %s", error)  # noqa: TRY400 - it says all there is
                    await clock.wait(asyncio.Event(), clock.now() + BLOCKED_PAUSE)
                else:
                    await asyncio.Event().wait()

    is_ready = readiness.fault() is None
    async with _run_all(engine, *companions) if is_ready else background_task(wait_and_run()):
        yield


@asynccontextmanager
async def _run_all(*services: Engine | Companion) -> AsyncIterator[None]:
    """Run all of them while the block runs; the last one ends first."""
    async with AsyncExitStack() as stack:
        for service in services:
            await stack.enter_async_context(service.running())
        yield


def open_database(settings: Settings) -> Database:
    """Open the database that the settings name."""
    return Database(
        settings.database_url,
        pool_size=settings.database_pool_size,
        answer_seconds=settings.database_timeout_seconds,
    )


def open_replica(settings: Settings, database: Database) -> Replica:
    """Open the standby that the settings name, if any.

    Raises SettingsError unless both databases are PostgreSQL.
    """
    if settings.database_read_url is None:
        return Replica(database, None, max_lag_seconds=settings.database_read_max_lag_seconds)
    standby = Database(
        settings.database_read_url,
        setting="HELOISE_DATABASE_READ_URL",
        pool_size=settings.database_pool_size,
        answer_seconds=settings.database_timeout_seconds,
    )
    if not (database.is_postgresql and standby.is_postgresql):
        raise SettingsError(
            "HELOISE_DATABASE_READ_URL: SQLite has no standby; leave it out, or write URLs of"
            " PostgreSQL here and in HELOISE_DATABASE_URL"
        )
    return Replica(database, standby, max_lag_seconds=settings.database_read_max_lag_seconds)


def make_message_log(settings: Settings) -> MessageLog:
    """Make the log of accepted messages and attempts."""
    return MessageLog(
        is_json=settings.log_format == "json",
        is_on=settings.log_messages and settings.log_level in {"debug", "info"},
    )


def make_metrics(
    settings: Settings, database: Database, clock: Clock, message_log: MessageLog
) -> Metrics:
    """Make the metrics of this process, which observe its database."""
    metrics = Metrics(
        database,
        clock,
        by=settings.parse_metrics_by(),
        max_groups=settings.metrics_limit,
        lease=timedelta(seconds=settings.lease_seconds),
        shared=open_shared_counts(),
        message_log=message_log if message_log.is_on else None,
    )
    database.observer = metrics
    return metrics


def make_engine(settings: Settings, metrics: Metrics, parts: Parts) -> Engine:
    """Make the engine that delivers what is due, and let the metrics watch it."""
    config = EngineConfig(
        network=parts.network,
        configs=LaneConfigFactory(
            vault=parts.vault,
            routing=settings.build_routing(),
            ehlo_names=parts.ehlo_names,
            tokens=parts.tokens,
        ),
        machine=parts.hostname,
        keeps_delivered_transcripts=settings.transcripts == "all",
        transcript_retention=timedelta(days=settings.transcript_retention_days),
        audit_retention=timedelta(days=settings.audit_retention_days),
        submission_retention=timedelta(days=settings.submission_log_days),
        retention=settings.build_retention(),
        lease=timedelta(seconds=settings.lease_seconds),
        poll_interval=timedelta(seconds=settings.poll_interval_seconds),
        shutdown_grace_seconds=settings.shutdown_grace_seconds,
    )
    engine = Engine(
        parts.database,
        config,
        clock=parts.clock,
        random=random.random,
        metrics=metrics,
        sync_clock=find_clock_sync(parts.clock),
    )
    metrics.watch_delivery(engine.count_connections, engine.count_lanes)
    return engine


def make_companions(
    settings: Settings, engine: Engine, metrics: Metrics, parts: Parts
) -> tuple[Companion, ...]:
    """Make what sends events to webhooks, what reads mailboxes, and what writes notices."""
    dispatcher = Dispatcher(
        parts.database,
        parts.network,
        owner=engine.worker_id,
        clock=parts.clock,
        random=random.random,
        open_sealed=parts.vault.open,
        poll_interval=timedelta(seconds=settings.poll_interval_seconds),
        record=metrics.record_webhook,
    )
    poller = Poller(
        parts.database,
        parts.network,
        clock=parts.clock,
        open_sealed=parts.vault.open,
        record=metrics.record_mailbox_poll,
    )
    notifier = Notifier(
        parts.database,
        clock=parts.clock,
        vault=parts.vault,
        routing=settings.build_routing(),
        max_message_bytes=settings.max_message_bytes,
        max_age_seconds=settings.message_max_age_seconds,
        poll_interval=timedelta(seconds=settings.poll_interval_seconds),
        record=metrics.record_accepted,
    )
    return dispatcher, poller, notifier


def find_clock_sync(clock: Clock) -> SyncClock | None:
    """Find what sets the clock by the database's; None for another clock, which is right."""
    return clock.measure if isinstance(clock, DatabaseClock) else None


async def sync_clock(clock: Clock) -> None:
    """Set the clock by the database's; while the database is away, leave it."""
    if (sync := find_clock_sync(clock)) is not None:
        with suppress(Unavailable):
            await sync()


async def sync_clock_forever(clock: Clock, settings: Settings) -> None:
    """Set the clock by the database's as often as a worker renews its leases."""
    while True:
        await asyncio.sleep(settings.lease_seconds / RENEWALS_PER_LEASE)
        await sync_clock(clock)


@asynccontextmanager
async def background_task(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine while the block runs, and cancel it at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
