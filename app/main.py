"""The one place where the parts are made and joined: `create_app`, and delivery on its own."""

import asyncio
import ctypes
import gc
import logging
import random
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import telemetry
from app.accept.committer import Committer
from app.api.guesses import Guesses
from app.api.http import OPENAPI_KWARGS, install
from app.api.key_cache import KeyCache
from app.api.state import Services
from app.delivery.engine import Engine, EngineConfig
from app.delivery.lane_config import ConfigMaker
from app.delivery.upkeep import RENEWALS_PER_LEASE, Measure, no_measure
from app.doctor.records import txt_records
from app.doctor.verifier import Verifier
from app.domain.clock import Clock
from app.domain.errors import Unavailable
from app.events.dispatcher import Dispatcher
from app.inbound.poller import Poller
from app.metrics import Metrics
from app.oauth.access_tokens import AccessTokens
from app.settings import Settings, load
from app.smtp.dns import Resolver
from app.smtp.outgoing import outgoing_address
from app.smtp.resolve import Network
from app.store import api_keys
from app.store.database import Database
from app.store.database_clock import DatabaseClock
from app.store.readiness import Readiness
from app.store.vault import Vault

log = logging.getLogger(__name__)

KEY_USE_SECONDS: Final = 10.0
COLLECTED_AFTER: Final = 20_000  # more objects than there were
M_MMAP_THRESHOLD: Final = -3  # mallopt(3)
LARGE_BLOCK_BYTES: Final = 1024 * 1024
TURN_SECONDS: Final = 0.001


def from_environment() -> FastAPI:
    """The app as the settings in the environment want it: what uvicorn's processes call."""
    settings = load()
    telemetry.configure(settings.log_level, settings.log_format, settings.log_addresses)
    give_large_blocks_back()
    shorten_turns()
    app = create_app(settings)
    spare_collector()
    return app


def spare_collector() -> None:
    """Let the garbage collector leave alone what lives as long as the process.

    Requests and messages make few cycles; looking for them every 700 objects took a tenth of the
    time of `POST /messages`.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER, *gc.get_threshold()[1:])


def give_large_blocks_back() -> None:
    """Let what a large message took go back to the system once it is freed.

    glibc's malloc would by itself keep such blocks from the second one on, and in pieces; other
    allocators are left as they are.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)


def shorten_turns() -> None:
    """Let a thread that makes a large message leave the interpreter to the loop when it is asked.

    By itself it would after 5 ms, and answering a request beside it needs several turns.
    """
    sys.setswitchinterval(TURN_SECONDS)


def machine_hostname() -> str:
    """The machine's full name, as far as it knows one; looking it up may take seconds."""
    return socket.getfqdn()


def create_app(
    settings: Settings, *, clock: Clock | None = None, hostname: str | None = None
) -> FastAPI:
    """The API, which delivers too where `settings.delivery` says so.

    `hostname` stands in for the machine's own name. Raises SettingsError where a setting that is
    needed is missing. While the schema is not at head the app answers 503 and does not deliver,
    and begins by itself once `heloise migrate` has run.
    """
    hostname = hostname or machine_hostname()
    database = _database(settings)
    clock = clock or DatabaseClock(database)
    readiness = Readiness(database)
    metrics = Metrics(database, clock)
    parts = _parts(settings, database, clock, hostname)
    engine = None
    if settings.delivery:
        engine = _engine(settings, database, clock, metrics, parts)
        metrics.watch_connections(engine.connections)
    handover = engine.handover if engine is not None else None
    committer = Committer(database, metrics, handover, now=clock.now)
    services = Services(
        database=database,
        vault=parts.vault,
        verifier=parts.verifier(settings, clock),
        verify_per_minute=settings.verify_per_minute,
        committer=committer,
        clock=clock,
        admin_keys=settings.admin_keys(),
        admin_prefix=settings.admin_prefix,
        guesses=Guesses(settings.failed_keys_per_minute),
        service_ehlo_name=settings.ehlo_name,
        hostname=hostname,
        guard=parts.network.guard,
        routing=settings.routing(),
        max_message_bytes=settings.max_message_bytes,
        max_buffered_bytes=settings.max_buffered_bytes,
        message_max_age_seconds=settings.message_max_age_seconds,
        local_address=lambda profile: profile.source_address or outgoing_address(profile.host),
        txt_records=partial(txt_records, parts.network.resolver),
        readiness=readiness.look,
        schema_fault=readiness.fault,
        metrics=metrics.exposition,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(database.close)
            stack.push_async_callback(services.renderer.close)
            await readiness.look()
            await _set_right(clock)
            if engine is not None:
                beside = _beside_delivery(settings, engine, database, clock, parts)
                await stack.enter_async_context(delivering(engine, beside, readiness))
            else:  # what delivery sees to for itself
                await stack.enter_async_context(_beside(readiness.wait_ready()))
                await stack.enter_async_context(_beside(_keep_right(clock, settings)))
            # It ends before delivery does, to which it hands messages over.
            await stack.enter_async_context(committer.running())
            await stack.enter_async_context(_beside(_write_key_uses(database, services.keys)))
            yield {"stopping": asyncio.Event()}

    app: FastAPI = FastAPIOffline(**OPENAPI_KWARGS, lifespan=lifespan)
    install(app, services)
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies)
    return app


async def run_worker(
    settings: Settings, *, clock: Clock | None = None, hostname: str | None = None
) -> None:
    """Deliver until cancelled; then what is being transmitted is finished first."""
    hostname = hostname or machine_hostname()
    async with AsyncExitStack() as stack:
        database = _database(settings)
        clock = clock or DatabaseClock(database)
        stack.push_async_callback(database.close)
        parts = _parts(settings, database, clock, hostname)
        engine = _engine(settings, database, clock, Metrics(database, clock), parts)
        beside = _beside_delivery(settings, engine, database, clock, parts)
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

    async with _running(engine, *beside) if readiness.fault() is None else _beside(once_ready()):
        yield


@asynccontextmanager
async def _running(*parts: Engine | Dispatcher | Poller) -> AsyncIterator[None]:
    """All of them while the block runs; they end in the other order."""
    async with AsyncExitStack() as stack:
        for each in parts:
            await stack.enter_async_context(each.running())
        yield


def _database(settings: Settings) -> Database:
    return Database(
        settings.database_url,
        pool_size=settings.database_pool_size,
        answer_seconds=settings.database_timeout_seconds,
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """What delivery and verify work with alike."""

    vault: Vault
    network: Network
    tokens: AccessTokens
    hostname: str

    def verifier(self, settings: Settings, clock: Clock) -> Verifier:
        return Verifier(
            network=self.network,
            tokens=self.tokens,
            open_sealed=self.vault.open,
            service_ehlo_name=settings.ehlo_name,
            hostname=self.hostname,
            now=clock.now,
        )


def _parts(settings: Settings, database: Database, clock: Clock, hostname: str) -> _Parts:
    network = Network(settings.guard(), Resolver(settings.dns_server_addresses()))
    vault = Vault(settings.encryption_keys())
    tokens = AccessTokens(database, vault, network, now=clock.now)
    return _Parts(vault, network, tokens, hostname)


def verifier(settings: Settings, database: Database, clock: Clock) -> Verifier:
    """What verifies profiles as this machine would deliver through them."""
    return _parts(settings, database, clock, machine_hostname()).verifier(settings, clock)


def _engine(
    settings: Settings, database: Database, clock: Clock, metrics: Metrics, parts: _Parts
) -> Engine:
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
        measure=_measure(clock),
    )


def _beside_delivery(
    settings: Settings, engine: Engine, database: Database, clock: Clock, parts: _Parts
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


def _measure(clock: Clock) -> Measure:
    """What sets the clock right, if anything has to: one that was handed in is right."""
    return clock.measure if isinstance(clock, DatabaseClock) else no_measure


async def _set_right(clock: Clock) -> None:
    """Measure the database's clock; while that cannot be asked the time stays what it was."""
    with suppress(Unavailable):
        await _measure(clock)()


async def _keep_right(clock: Clock, settings: Settings) -> None:
    """What a delivering process does with each renewal of its leases."""
    while True:
        await asyncio.sleep(settings.lease_seconds / RENEWALS_PER_LEASE)
        await _set_right(clock)


async def _write_key_uses(database: Database, keys: KeyCache) -> None:
    """Write `last_used_at` every now and then: it is no reason to write at each request."""
    while True:
        try:
            await asyncio.sleep(KEY_USE_SECONDS)
        finally:
            await _write_key_uses_once(database, keys)


async def _write_key_uses_once(database: Database, keys: KeyCache) -> None:
    used = keys.take_used()
    if not used:
        return
    try:
        async with database.transaction() as connection:
            await api_keys.touch(connection, used=used)
    except Unavailable:
        log.warning("the last use of %d keys could not be written", len(used))


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do some work beside the block, until it ends."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
