"""Build the delivery parts for `heloise worker` and for the API's process.

It imports nothing of the API, so that a worker starts without FastAPI.
"""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from app.delivery.engine import Engine, EngineConfig
from app.delivery.lane_config import ConfigMaker
from app.delivery.maintenance import RENEWALS_PER_LEASE, Measure
from app.diagnostics.verifier import Verifier
from app.domain.clock import Clock
from app.domain.errors import Unavailable
from app.inbound.poller import Poller
from app.metrics import Metrics
from app.oauth.access_tokens import AccessTokens
from app.settings import Settings
from app.smtp.dns import Resolver
from app.smtp.resolve import Network
from app.store.db.clock import DatabaseClock
from app.store.db.engine import Database
from app.store.migrations.readiness import Readiness
from app.store.secrets.encryption import Vault
from app.webhooks.dispatcher import Dispatcher


def machine_hostname() -> str:
    """The machine's full name, as far as it knows one; looking it up may take seconds."""
    return socket.getfqdn()


async def run_worker(
    settings: Settings, *, clock: Clock | None = None, hostname: str | None = None
) -> None:
    """Deliver until cancelled; then what is being transmitted is finished first."""
    hostname = hostname or machine_hostname()
    async with AsyncExitStack() as stack:
        database = open_database(settings)
        clock = clock or DatabaseClock(database)
        stack.push_async_callback(database.close)
        parts = make_parts(settings, database, clock, hostname)
        engine = make_engine(settings, database, clock, Metrics(database, clock), parts)
        beside = make_companions(settings, engine, database, clock, parts)
        await stack.enter_async_context(_running(engine, *beside))
        await asyncio.Event().wait()


@asynccontextmanager
async def delivering(
    engine: Engine, beside: Sequence[Dispatcher | Poller], readiness: Readiness
) -> AsyncIterator[None]:
    """Deliver while the block runs, from the moment on at which the schema is at head."""

    async def once_ready() -> None:
        await readiness.wait_ready()
        async with _running(engine, *beside):
            await asyncio.Event().wait()

    async with _running(engine, *beside) if readiness.fault() is None else background(once_ready()):
        yield


@asynccontextmanager
async def _running(*parts: Engine | Dispatcher | Poller) -> AsyncIterator[None]:
    """All of them while the block runs; they end in the other order."""
    async with AsyncExitStack() as stack:
        for each in parts:
            await stack.enter_async_context(each.running())
        yield


def open_database(settings: Settings) -> Database:
    """The database that the settings name."""
    return Database(
        settings.database_url,
        pool_size=settings.database_pool_size,
        answer_seconds=settings.database_timeout_seconds,
    )


@dataclass(frozen=True, slots=True)
class Parts:
    """What delivery and verify work with alike."""

    vault: Vault
    network: Network
    tokens: AccessTokens
    hostname: str

    def verifier(self, settings: Settings, clock: Clock) -> Verifier:
        """What verifies profiles with these parts."""
        return Verifier(
            network=self.network,
            tokens=self.tokens,
            open_sealed=self.vault.open,
            service_ehlo_name=settings.ehlo_name,
            hostname=self.hostname,
            now=clock.now,
        )


def make_parts(settings: Settings, database: Database, clock: Clock, hostname: str) -> Parts:
    """What delivers or verifies by these settings, on a machine of this name."""
    network = Network(settings.guard(), Resolver(settings.dns_server_addresses()))
    vault = Vault(settings.encryption_keys())
    tokens = AccessTokens(database, vault, network, now=clock.now)
    return Parts(vault, network, tokens, hostname)


def verifier(settings: Settings, database: Database, clock: Clock) -> Verifier:
    """What verifies profiles as this machine would deliver through them."""
    return make_parts(settings, database, clock, machine_hostname()).verifier(settings, clock)


def make_engine(
    settings: Settings, database: Database, clock: Clock, metrics: Metrics, parts: Parts
) -> Engine:
    """The engine that delivers what is due."""
    config = EngineConfig(
        network=parts.network,
        configs=ConfigMaker(
            vault=parts.vault,
            routing=settings.routing(),
            service_ehlo_name=settings.ehlo_name,
            hostname=parts.hostname,
            tokens=parts.tokens,
        ),
        machine=parts.hostname,
        transcript_retention=timedelta(days=settings.transcript_retention_days),
        audit_retention=timedelta(days=settings.audit_retention_days),
        retention=settings.retention(),
        lease_seconds=settings.lease_seconds,
        poll_interval_seconds=settings.poll_interval_seconds,
        shutdown_grace_seconds=settings.shutdown_grace_seconds,
    )
    return Engine(
        database,
        config,
        clock=clock,
        random=random.random,
        facts=metrics,
        measure=clock_measure(clock),
    )


def make_companions(
    settings: Settings, engine: Engine, database: Database, clock: Clock, parts: Parts
) -> tuple[Dispatcher, Poller]:
    """What tells webhooks of events, and what reads mailboxes."""
    dispatcher = Dispatcher(
        database,
        parts.network,
        owner=engine.worker_id,
        clock=clock,
        random=random.random,
        open_sealed=parts.vault.open,
        poll_interval=timedelta(seconds=settings.poll_interval_seconds),
    )
    poller = Poller(database, parts.network, clock=clock, open_sealed=parts.vault.open)
    return dispatcher, poller


def clock_measure(clock: Clock) -> Measure | None:
    """What sets the clock by the database's; None for one that was handed in: it is right."""
    return clock.measure if isinstance(clock, DatabaseClock) else None


async def set_clock(clock: Clock) -> None:
    """Measure the database's clock; while that cannot be asked the time stays what it was."""
    if (measure := clock_measure(clock)) is not None:
        with suppress(Unavailable):
            await measure()


async def keep_clock(clock: Clock, settings: Settings) -> None:
    """Measure the clock of the database as often as a worker renews its leases."""
    while True:
        await asyncio.sleep(settings.lease_seconds / RENEWALS_PER_LEASE)
        await set_clock(clock)


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do some work beside the block, until it ends."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
