"""Define `heloise serve`."""

import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Annotated, Any, Final

import asyncpg
import typer
import uvicorn
from uvicorn.supervisors import Multiprocess

from app import tracing
from app.api.http.server_protocol import BoundedProtocol
from app.cli.input import load_settings
from app.domain.errors import SettingsError
from app.logs import logging_config
from app.process import listen
from app.settings.model import Settings, variable_name
from app.store.db.postgresql_driver import connect
from app.store.db.url import PostgresqlUrl, parse_database_url, sqlite_path
from app.submission.listener import Listener

log = logging.getLogger("uvicorn.error")

APP: Final = "app.main:from_environment"
NOT_STARTED: Final = 3
# A worker process does not answer uvicorn's health check while it imports. On a busy machine,
# uvicorn's default of 5 s would kill and restart the processes forever.
WORKER_TIMEOUT_SECONDS: Final = 60
DATE_RESOLUTION_SECONDS: Final = 1  # precision of the header Date
CHECK_SECONDS: Final = 5
SIGNAL_EXIT_BASE: Final = 128  # shells report 128 + signal


def serve(
    host: Annotated[str | None, typer.Option(help="Overrides HELOISE_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Overrides HELOISE_PORT.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=256, help="The number of processes. More than one needs PostgreSQL."
        ),
    ] = 1,
    *,
    no_delivery: Annotated[
        bool, typer.Option("--no-delivery", help="Only accept messages; workers deliver them.")
    ] = False,
) -> None:
    """Serve the HTTP API and deliver messages.

    If the database schema is missing or old, /readyz answers 503 until you run `heloise migrate`.
    """
    _set_variables(host=host, port=port, delivery="false" if no_delivery else None)
    settings = load_settings()
    settings.load_encryption_keys()
    if workers > 1 and sqlite_path(settings.database_url) is not None:
        raise SettingsError(
            f"--workers {workers} needs PostgreSQL: with SQLite, only one process can write. Set"
            " HELOISE_DATABASE_URL to postgresql://…, or leave --workers out."
        )
    if workers > 1 and settings.submission:
        raise SettingsError(
            f"--workers {workers} does not go with HELOISE_SUBMISSION: run `heloise submission`"
            " beside `serve`, or leave --workers out."
        )
    tls_options = _make_tls_options(settings)
    tracing.start("serve")
    # uvicorn raises the signal again after it has stopped; a stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # A process that cannot listen must not deliver either.
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(listen(settings.host, settings.port, "--port (HELOISE_PORT)"))
        ]
        if settings.resend_port is not None:
            resend_socket = listen(settings.host, settings.resend_port, "HELOISE_RESEND_PORT")
            sockets.append(stack.enter_context(resend_socket))
        listeners = list[Listener]()
        if settings.submission:
            from app.submission_server import open_listeners

            listeners = stack.enter_context(open_listeners(settings))
        asyncio.run(_check_database(settings.database_url))
        _serve(settings, workers, tls_options, sockets, listeners)


async def _check_database(url: str) -> None:
    """Raise SettingsError if waiting cannot help; a database that is down may come back."""
    parsed = parse_database_url(url)
    if isinstance(parsed, PostgresqlUrl):
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with asyncio.timeout(CHECK_SECONDS):
                connection = await connect(parsed)
                await connection.close()


def _make_tls_options(settings: Settings) -> dict[str, Any]:
    """Build uvicorn's TLS options. Raises SettingsError if they are incomplete."""
    if settings.tls_certificate is None:
        if settings.tls_key or settings.tls_client_ca:
            raise SettingsError(
                f"{variable_name('tls_certificate')}: not set, should be an existing file, because"
                " HELOISE_TLS_KEY or HELOISE_TLS_CLIENT_CA is set"
            )
        return {}
    tls_options: dict[str, Any] = {
        "ssl_certfile": settings.tls_certificate,
        "ssl_keyfile": settings.tls_key,
    }
    if settings.tls_client_ca:
        tls_options |= {"ssl_ca_certs": settings.tls_client_ca, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return tls_options


def _set_variables(**options: object) -> None:
    """Pass options as environment variables: worker processes read the settings again."""
    os.environ.update(
        {variable_name(field): str(value) for field, value in options.items() if value is not None}
    )


class _Server(uvicorn.Server):
    """Stops at once on a second signal: another process takes over its messages.

    Waits for an event, not ten times a second as uvicorn does: polling was a third of the CPU time
    of an idle service.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stop_event = asyncio.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(SIGNAL_EXIT_BASE + sig)
        super().handle_exit(sig, frame)
        asyncio.get_running_loop().call_soon_threadsafe(self._stop_event.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or ():
            _log_address(listening, is_tls=self.config.is_ssl)

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(DATE_RESOLUTION_SECONDS):
                    await self._stop_event.wait()


def _log_address(listening: socket.socket, *, is_tls: bool) -> None:
    host, port = listening.getsockname()[:2]
    formatted_host = f"[{host}]" if ":" in host else host
    log.info("Uvicorn running on %s://%s:%d", "https" if is_tls else "http", formatted_host, port)


def _serve(
    settings: Settings,
    workers: int,
    tls: dict[str, Any],
    sockets: list[socket.socket],
    listeners: Sequence[Listener],
) -> None:
    uvicorn_options: dict[str, Any] = {
        "factory": True,
        "loop": "auto",  # uvloop, if the platform has it
        "http": BoundedProtocol,
        "ws": "none",
        "lifespan": "on",
        **tls,
        "log_config": logging_config(
            settings.log_level, settings.log_format, settings.log_addresses
        ),
        "server_header": False,
        "proxy_headers": False,  # HELOISE_TRUSTED_PROXIES decides
        "timeout_graceful_shutdown": settings.shutdown_grace_seconds,
        "timeout_worker_healthcheck": WORKER_TIMEOUT_SECONDS,
    }
    if workers > 1:
        from app.metrics.sharing import FOLDER_VARIABLE

        config = uvicorn.Config(APP, workers=workers, **uvicorn_options)
        for listening in sockets:
            _log_address(listening, is_tls=config.is_ssl)
        with TemporaryDirectory(prefix="heloise-metrics-") as folder:
            os.environ[FOLDER_VARIABLE] = folder
            Multiprocess(config, sockets=sockets).run()
        return
    from app.main import from_environment

    app = partial(from_environment, listeners)
    server = _Server(uvicorn.Config(app, **uvicorn_options))
    server.run(sockets=sockets)
    if not server.started:
        sys.exit(NOT_STARTED)
