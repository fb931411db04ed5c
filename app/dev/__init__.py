"""Run `heloise dev`: API, SMTP submission, delivery and a catch-all SMTP inbox."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI
from filelock import FileLock, Timeout
from uvicorn.loops.auto import auto_loop_factory

from app import logs, tracing
from app.api.http.server_protocol import BoundedProtocol
from app.dev import first_run, routes
from app.dev.catcher import Catcher, serve_catcher
from app.dev.data_folder import (
    Keys,
    load_or_create_keys,
    make_settings,
    save_keys,
    write_environment,
)
from app.dev.first_run import LOOPBACK, Start
from app.dev.inbox import Inbox
from app.dev.screen import Screen
from app.domain.ehlo import EhloNames
from app.domain.errors import SettingsError
from app.domain.networks import is_loopback
from app.main import create_app
from app.process import listen
from app.settings.model import Settings
from app.store.db.database import Database
from app.store.migrations import migrate as migrating
from app.store.secrets.encryption import Vault
from app.submission.listener import Listener

__all__: Final = ["main"]

ANY_ADDRESS: Final = {"0.0.0.0": LOOPBACK, "::": "[::1]"}  # noqa: S104 - what to show instead


def main(*, data_folder: Path, host: str, port: int, smtp_port: int, submission_port: int) -> None:
    """Serve until SIGINT or SIGTERM, with all data in `data_folder`.

    Raises SettingsError if the folder or a port cannot be used.
    """
    with ExitStack() as stack:
        stack.enter_context(_lock_data_folder(data_folder))
        http = stack.enter_context(listen(host, port, "--port"))
        smtp = stack.enter_context(listen(LOOPBACK, smtp_port, "--smtp-port"))
        # Only on loopback, because logins there are not encrypted.
        submission = stack.enter_context(listen(LOOPBACK, submission_port, "--submission-port"))
        keys = load_or_create_keys(data_folder)
        settings = make_settings(data_folder, keys, host=host, port=port)
        logs.configure(settings.log_level, settings.log_format, settings.log_addresses)
        tracing.start("dev")
        screen = Screen(
            url=f"http://{_format_host(host)}:{port}",
            smtp_port=smtp_port,
            submission_port=submission_port,
            data_folder=data_folder,
            inbox_needs_key=not is_loopback(host),
        )
        with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
            runner.run(_run(settings, keys, screen, data_folder, http, smtp, Listener(submission)))


def _format_host(host: str) -> str:
    """Format a host for a URL that works on this machine."""
    return ANY_ADDRESS.get(host) or (f"[{host}]" if ":" in host else host)


@contextmanager
def _lock_data_folder(folder: Path) -> Iterator[None]:
    """Create the folder, readable only by this user, and lock it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(folder / "dev.lock", mode=0o600)
        lock.acquire(timeout=0)
    except Timeout:
        raise SettingsError(
            f"another heloise dev uses {folder}; stop it, or set --data to another folder"
        ) from None
    except OSError as error:
        raise SettingsError(
            f"cannot use the folder {folder}: {error.strerror}; set --data to another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


async def _run(
    settings: Settings,
    keys: Keys,
    screen: Screen,
    data_folder: Path,
    http: socket.socket,
    smtp: socket.socket,
    submission: Listener,
) -> None:
    hostname = socket.gethostname()
    start = await _prepare(settings, keys, hostname, smtp_port=smtp.getsockname()[1])
    if start.keys != keys:
        save_keys(data_folder, start.keys)
    environment_file = write_environment(data_folder, settings, start.keys)
    inbox = Inbox(data_folder / "inbox")
    app = create_app(
        settings,
        hostname=hostname,
        listeners=[submission],
        is_dev=True,
        # As the inbox, the console needs no key where only this machine reaches it.
        dev_key=start.keys.api_key if is_loopback(settings.host) else None,
    )
    routes.install(app, inbox, host=settings.host)
    catcher = Catcher(inbox, on_mail=screen.show_mail, max_message_bytes=settings.max_message_bytes)
    async with serve_catcher(catcher, smtp):
        show_start = partial(screen.show_start, start, environment_file)
        await _serve(app, http, settings, on_started=show_start)


async def _prepare(settings: Settings, keys: Keys, hostname: str, *, smtp_port: int) -> Start:
    names = EhloNames(service=settings.ehlo_name, hostname=hostname)
    database = Database(settings.database_url)
    try:
        await migrating.migrate(database)
        vault = Vault(settings.load_encryption_keys())
        async with database.transaction() as connection:
            return await first_run.prepare(connection, vault, keys, names, smtp_port=smtp_port)
    finally:
        await database.close()


class _Server(uvicorn.Server):
    """Reports its start, and does not handle signals: uvicorn would raise them again."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(
    app: FastAPI, listening: socket.socket, settings: Settings, *, on_started: Callable[[], None]
) -> None:
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_grace_seconds,
    )
    server = _Server(config, on_started)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, server.handle_exit, number, None)
    await server.serve(sockets=[listening])
