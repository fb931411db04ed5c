"""Create the ASGI app and its services: `create_app`."""

import gc
import sys
import warnings

from pydantic import BaseModel
from pydantic.warnings import UnsupportedFieldAttributeWarning

from app.process import GC_THRESHOLD

# The imports below create half a million permanent objects. Collecting garbage meanwhile takes a
# sixth of the start.
gc.set_threshold(GC_THRESHOLD)
# Pydantic builds a model when it is first used, FastAPI's models of the OpenAPI document too.
# Building them all takes another sixth.
BaseModel.model_config["defer_build"] = True
# FastAPI gives fields an alias without effect and silences the warning while it builds them.
# Deferred models are built later.
warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)

# FastAPI asks of each field whether it is a model of Pydantic 1. Importing that to answer no would
# take 1.5 MB.
sys.modules.setdefault("pydantic.v1", None)  # type: ignore[arg-type]

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, Final

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware

from app import logs, process, tracing, worker
from app.accept.group_commit import Committer
from app.api.app import OPENAPI_KWARGS, install
from app.api.requests.body_memory import Budget
from app.api.services import Services
from app.auth.authentication import Authenticator
from app.auth.throttle import AuthThrottle
from app.console.middleware import Console, ConsoleConfig, SingleSignOn
from app.domain.clock import Clock
from app.domain.errors import Unavailable
from app.inbound.sns import SnsClient
from app.message_log import MessageLog
from app.metrics.collection import Metrics
from app.sending_services import make_parts
from app.settings.model import Settings, variable_name
from app.settings.reading import read_settings
from app.smtp.dns import Resolver
from app.smtp.local_address import local_address
from app.smtp.resolve import Network
from app.store import api_keys
from app.store.db.clock import DatabaseClock
from app.store.migrations.readiness import Readiness
from app.submission.listener import Listener

log = logging.getLogger(__name__)

KEY_USE_SECONDS: Final = 10.0


def from_environment(listeners: Sequence[Listener] = ()) -> FastAPI:
    """Create the app from the environment, as the factory of uvicorn's processes."""
    settings = read_settings()
    logs.configure(settings.log_level, settings.log_format, settings.log_addresses)
    tracing.start("serve")
    process.tune_malloc()
    process.tune_switch_interval()
    app = create_app(settings, listeners=listeners)
    process.tune_gc()
    return app


def create_app(
    settings: Settings,
    *,
    clock: Clock | None = None,
    hostname: str | None = None,
    listeners: Sequence[Listener] = (),
    is_dev: bool = False,
    dev_key: str | None = None,
) -> FastAPI:
    """Create the API, which also delivers if `settings.delivery` is set.

    `hostname` replaces the machine's name. With `is_dev`, the console works over HTTP and
    shows the inbox; with `dev_key`, it signs everybody in. With `listeners` it serves SMTP
    submission on them.
    Raises SettingsError if a required setting is missing. While the schema is not at head the app
    answers 503 and does not deliver; it starts by itself once `heloise migrate` has run.
    """
    service = _make_service(
        settings, clock, hostname, listeners=listeners, is_delivering=settings.delivery
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with service.running():
            yield {"stopping": asyncio.Event()}

    app: FastAPI = FastAPIOffline(**OPENAPI_KWARGS, lifespan=lifespan)
    console = Middleware(
        Console,
        services=service.services,
        config=_make_console_config(settings, is_dev=is_dev, dev_key=dev_key),
    )
    install(app, service.services, service.budget, console)
    if settings.trusted_proxies:
        from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies)
    return app


def _make_console_config(
    settings: Settings, *, is_dev: bool, dev_key: str | None
) -> ConsoleConfig | None:
    if not settings.console:
        return None
    return ConsoleConfig(
        path=settings.console_path,
        idle_time=timedelta(seconds=settings.console_idle_seconds),
        session_time=timedelta(seconds=settings.console_session_seconds),
        is_secure=not is_dev,
        has_inbox=is_dev,
        dev_key=dev_key,
        single_sign_on=_make_single_sign_on(settings),
    )


def _make_single_sign_on(settings: Settings) -> SingleSignOn | None:
    client = settings.build_openid_client()
    if client is None:
        return None
    # The operator chose the provider, which is often in the own network.
    guard = replace(settings.build_guard(), allow_private=True)
    return SingleSignOn(
        client=client,
        rules=settings.parse_oidc_rules(),
        network=Network(guard, Resolver(settings.dns_server_addresses())),
    )


async def run_submission(settings: Settings, listeners: Sequence[Listener]) -> None:
    """Accept messages over SMTP until cancelled. Other processes deliver them."""
    from app.monitor_server import Monitor, serve_monitor  # `import app.main` needs no uvicorn

    service = _make_service(settings, None, None, listeners=listeners, is_delivering=False)
    monitor = Monitor(
        exposition=service.metrics.exposition,
        readiness=service.readiness,
        token=settings.metrics_secret(),
    )
    async with (
        service.running(),
        serve_monitor(
            monitor,
            host=settings.host,
            port=settings.submission_http_port,
            variable=variable_name("submission_http_port"),
        ),
    ):
        await asyncio.Event().wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    """The parts of a process that accepts messages, and may deliver them."""

    settings: Settings
    services: Services
    budget: Budget  # of HTTP and SMTP together
    readiness: Readiness
    metrics: Metrics
    message_log: MessageLog
    delivery: AbstractAsyncContextManager[None] | None  # runs the engine
    submission: AbstractAsyncContextManager[None] | None  # runs the server

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run all parts while the block runs. Accepting parts end before delivering ones."""
        database, clock = self.services.database, self.services.clock
        async with AsyncExitStack() as stack:

            async def start(work: Coroutine[Any, Any, None]) -> None:
                await stack.enter_async_context(worker.background_task(work))

            stack.push_async_callback(tracing.flush)
            stack.callback(self.message_log.flush)
            stack.push_async_callback(database.close)
            stack.push_async_callback(self.services.replica.close)
            stack.push_async_callback(self.services.renderer.close)
            await self.readiness.check()
            await worker.sync_clock(clock)
            if self.delivery is not None:
                await stack.enter_async_context(self.delivery)
            else:  # the engine does both itself
                await start(self.readiness.wait_ready())
                await start(worker.sync_clock_forever(clock, self.settings))
            # It hands messages to delivery, so it ends first.
            await stack.enter_async_context(self.services.committer.running())
            await start(_write_key_uses(self.services.auth))
            if self.metrics.is_shared:
                await start(self.metrics.share())
            if self.submission is not None:
                await stack.enter_async_context(self.submission)
            yield


def _make_service(
    settings: Settings,
    clock: Clock | None,
    hostname: str | None,
    *,
    listeners: Sequence[Listener],
    is_delivering: bool,
) -> _Service:
    hostname = hostname or process.find_hostname()
    database = worker.open_database(settings)
    replica = worker.open_replica(settings, database)
    clock = clock or DatabaseClock(database)
    readiness = Readiness(database)
    message_log = worker.make_message_log(settings)
    metrics = worker.make_metrics(settings, database, clock, message_log)
    parts = make_parts(settings, database, clock, hostname)
    handover = delivery = None
    if is_delivering:
        engine = worker.make_engine(settings, metrics, parts)
        companions = worker.make_companions(settings, engine, metrics, parts)
        handover = engine.handover
        delivery = worker.deliver_when_ready(engine, companions, readiness, clock)
    committer = Committer(database, metrics, handover, now=clock.now)
    services = Services(
        auth=Authenticator(
            database=database,
            now=clock.now,
            admin_keys=settings.parse_admin_keys(),
            auth_throttle=AuthThrottle(settings.auth_failures_per_minute),
            stores_client_addresses=settings.store_client_addresses,
            schema_fault=readiness.fault,
        ),
        database=database,
        replica=replica,
        vault=parts.vault,
        verifier=parts.make_verifier(),
        verify_per_minute=settings.verify_per_minute,
        console_idle_time=timedelta(seconds=settings.console_idle_seconds),
        committer=committer,
        clock=clock,
        root_path=settings.root_path,
        metrics_token=settings.metrics_secret(),
        admin_prefix=settings.admin_prefix,
        resend_host=settings.resend_host,
        resend_port=settings.resend_port,
        ehlo_names=parts.ehlo_names,
        guard=parts.network.guard,
        routing=settings.build_routing(),
        max_message_bytes=settings.max_message_bytes,
        message_max_age_seconds=settings.message_max_age_seconds,
        lease_seconds=settings.lease_seconds,
        local_address=local_address,
        fetch_file=partial(_fetch_file, parts.network, settings.max_message_bytes),
        look_up_txt=parts.network.resolver.look_up_txt,
        sns=SnsClient(parts.network),
        readiness=readiness.check,
        metrics=metrics.exposition,
        record_request=metrics.record_request,
    )
    budget = Budget(settings.max_buffered_bytes, services.max_body_bytes)
    submission = None
    if listeners:  # few processes need its import
        from app.submission_server import make_server, make_session_log, serve_submission

        session_log = make_session_log(settings, services, metrics, readiness)
        server = make_server(
            settings, services, budget, metrics, listeners, session_log, hostname=hostname
        )
        metrics.watch_submissions(lambda: server.connection_count)
        submission = serve_submission(server, session_log)
    return _Service(
        settings=settings,
        services=services,
        budget=budget,
        readiness=readiness,
        metrics=metrics,
        message_log=message_log,
        delivery=delivery,
        submission=submission,
    )


async def _fetch_file(network: Network, max_bytes: int, url: str) -> bytes:
    from app.http_client import fetch_file  # few processes need its import

    return await fetch_file(network, url, max_bytes=max_bytes)


async def _write_key_uses(auth: Authenticator) -> None:
    """Write `last_used_at` in batches, because a write per request costs too much."""
    while True:
        try:
            await asyncio.sleep(KEY_USE_SECONDS)
        finally:
            await _write_key_uses_once(auth)


async def _write_key_uses_once(auth: Authenticator) -> None:
    uses = dict(auth.key_uses)
    auth.key_uses.clear()
    if not uses:
        return
    try:
        async with auth.database.transaction() as connection:
            await api_keys.record_use(connection, last_used_at=uses)
    except Unavailable:
        log.warning("could not write the last use of %d keys", len(uses))
