"""Heloise as its users meet it: served by a real uvicorn, delivering for real, all of it watched.

Whatever it answers, logs or stores is searched for the canary afterwards (invariant 9).
"""

import asyncio
import base64
import json
import logging
import os
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import uvicorn
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from app import logs
from app.api.http.server_protocol import BoundedProtocol
from app.domain.clock import Clock
from app.main import create_app
from app.settings.model import Settings
from app.store.db.url import sqlite_path
from app.store.tables.metadata import metadata
from app.submission.listener import Listener
from tests.support.api_client import EVERY_SCOPE, NO_AUTHORITIES, Caller, bearer
from tests.support.processes.forked import Forker
from tests.support.processes.served import PromptServer, listen
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
CANARY = "canary-7c41-in-the-coal-mine"
ADMIN_KEY = "an-admin-key-of-more-than-32-characters"


@dataclass
class Watched:
    """Everything that came out of Heloise during a test."""

    answers: list[str] = field(default_factory=list)
    log: StringIO = field(default_factory=StringIO)

    async def note(self, response: httpx.Response) -> None:
        """Keep an answer, its headers too."""
        await response.aread()
        self.answers.append(f"{response.headers}\n{response.text}")


class Heloise:
    """One service on one database, through its HTTP API."""

    def __init__(self, url: str, watched: Watched) -> None:
        hooks: dict[str, list[Callable[..., Any]]] = {"response": [watched.note]}
        # A process that serves closes a connection that was idle for 5 s: none is used then.
        limits = httpx.Limits(keepalive_expiry=2)
        self.http = httpx.AsyncClient(
            base_url=url, event_hooks=hooks, timeout=30, limits=limits, verify=NO_AUTHORITIES
        )
        self.admin = Caller(self.http, bearer(ADMIN_KEY))

    async def tenant(self, slug: str = "acme", **fields: Any) -> "Tenant":
        """A new tenant, with a key that may do everything."""
        tenant = await self.admin.made("/tenants", {"slug": slug, **fields})
        body = {"name": "test", "scopes": EVERY_SCOPE}
        key = await self.admin.made(f"/tenants/{tenant['id']}/keys", body)
        return Tenant(self.http, bearer(key["key"]), tenant["id"])


class Tenant(Caller):
    """What a tenant does, in the words of a test."""

    async def profile(self, name: str, port: int, **fields: Any) -> Any:
        """Make a profile for a server on loopback, in clear unless it says otherwise."""
        body = {
            "name": name,
            "host": "127.0.0.1",
            "port": port,
            "tls": "none",
            "ehlo_name": f"{name}.example.com",
            "default_from": f"{name}@example.com",
            # Longer than a busy machine takes: who wants to see one end gives it a shorter one.
            "timeouts": {"connect": 60, "command": 60, "data": 60},
        }
        return await self.made("/profiles", body | fields)

    async def send(self, to: str | list[str] = "ann@example.org", **fields: Any) -> str:
        """Send a message; answers its id."""
        recipients = [to] if isinstance(to, str) else to
        body = {"to": recipients, "subject": "Hello", "text": "It works."} | fields
        return str((await self.made("/messages", body))["id"])

    async def message(self, message_id: str, *, status: str) -> Any:
        """The message, once it has this status."""

        async def fact() -> Any:
            message = await self.read(f"/messages/{message_id}")
            return message if message["status"] == status else None

        return await until(fact)

    async def all_sent(self, message_ids: Iterable[str]) -> None:
        """Return once every one of these messages, of which there are few hundred, is sent.

        They are read together: to ask for each of a hundred takes longer than to send them.
        """
        left = set(message_ids)

        async def fact() -> bool | None:
            cursor = ""
            while left:
                page = await self.read(f"/messages?status=sent&limit=200{cursor}")
                left.difference_update(message["id"] for message in page["items"])
                if not page["next_cursor"]:
                    break
                cursor = f"&cursor={page['next_cursor']}"
            return not left or None

        await until(fact, progress=lambda: len(left))

    async def recipient(self, message_id: str, address: str, *, status: str) -> Any:
        """One recipient, once it has this status."""

        async def fact() -> Any:
            message = await self.read(f"/messages/{message_id}")
            return next(
                (
                    r
                    for r in message["recipients"]
                    if (r["address"], r["status"]) == (address, status)
                ),
                None,
            )

        return await until(fact)

    async def attempts(self, message_id: str) -> list[Any]:
        """Every attempt at a message, oldest first."""
        attempts: list[Any] = (await self.read(f"/messages/{message_id}/attempts"))["items"]
        return attempts

    async def settled(self) -> None:
        """Return once none of its messages is being sent, and what came of them is written."""

        async def fact() -> bool | None:
            return not (await self.read("/messages?status=sending"))["items"] or None

        await until(fact)

    async def state(self, profile: str, state: str) -> Any:
        """The profile, once it is in this state."""

        async def fact() -> Any:
            profile_body = await self.read(f"/profiles/{profile}")
            return profile_body if profile_body["state"] == state else None

        return await until(fact)


class Given(Settings):
    """Settings by arguments alone: what the environment or a file says is not looked for."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def settings(database_url: str, /, **fields: Any) -> Settings:
    """The settings of a service under test: private hosts and all ports, quick to look again."""
    values: dict[str, Any] = {
        "database_url": database_url,
        "admin_key": ADMIN_KEY,
        "secret_keys": key_of(database_url),
        "allow_private_hosts": True,
        "allowed_ports": "1-65535",
        "poll_interval_seconds": 0.2,
        # Long, so that a process that waits for its turn on a busy machine keeps its leases. A
        # test that wants one to end gives that process a short one.
        "lease_seconds": 60,
        "shutdown_grace_seconds": 5,
    }
    return Given(**(values | fields))


def key_of(database_url: str) -> str:
    """A secret key that stays the same over restarts on one database."""
    return base64.b64encode(database_url.encode().ljust(32, b"=")[-32:]).decode()


@asynccontextmanager
async def serving(
    settings: Settings,
    watched: Watched,
    *,
    clock: Clock | None = None,
    hostname: str | None = None,
    listeners: Sequence[Listener] = (),
) -> AsyncIterator[Heloise]:
    """The service in this process, behind a real uvicorn; ends as SIGTERM would end it.

    With `listeners` it accepts messages over SMTP too.
    """
    handler = logging.StreamHandler(watched.log)
    handler.setFormatter(logs.formatter("json"))
    logging.getLogger().addHandler(handler)
    app = create_app(settings, clock=clock, hostname=hostname, listeners=listeners)
    config = uvicorn.Config(
        app,
        lifespan="on",
        http=BoundedProtocol,
        proxy_headers=False,
        log_config=None,
        ws="none",
        # Else a test that waits for so long elsewhere meets a connection that is just being closed.
        timeout_keep_alive=120,
    )
    server = PromptServer(config)
    with listen() as listening:
        task = asyncio.create_task(server.serve(sockets=[listening]))
        heloise = Heloise(f"http://127.0.0.1:{listening.getsockname()[1]}", watched)
        try:
            async with heloise.http:
                yield heloise
        finally:
            server.stop()
            await task
            logging.getLogger().removeHandler(handler)


class Process:
    """`heloise COMMAND` as a process of its own, to be killed; its log goes to a file.

    `module` is run in the place of the command's own, on a machine that has the name `machine`.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        *words: str,
        port: int | None = None,
        module: str = "app.cli",
        forker: Forker,
        machine: str | None = None,
    ) -> None:
        self.log = folder / f"{secrets.token_hex(4)}.log"
        self.port = port
        secret_keys = ",".join(key.get_secret_value() for key in settings.secret_keys)
        variables = {
            "DATABASE_URL": settings.database_url,
            "ADMIN_KEY": ADMIN_KEY,
            "SECRET_KEYS": secret_keys,
            "ALLOW_PRIVATE_HOSTS": "true",
            "ALLOWED_PORTS": settings.allowed_ports,
            "POLL_INTERVAL_SECONDS": str(settings.poll_interval_seconds),
            "LEASE_SECONDS": str(settings.lease_seconds),
            "SHUTDOWN_GRACE_SECONDS": str(settings.shutdown_grace_seconds),
            "LOG_LEVEL": settings.log_level,
            # Processes of other tests run beside this one.
            "WORKER_PORT": str(
                settings.worker_port if "worker_port" in settings.model_fields_set else 0
            ),
            "SUBMISSION_HTTP_PORT": "0",
        } | ({"PORT": str(port)} if port else {})
        variables |= {
            name.upper(): str(getattr(settings, name))
            for name in settings.model_fields_set
            if name.startswith(("submission", "database_"))
        }
        # The settings of the person who runs the tests stay outside.
        env = {key: value for key, value in os.environ.items() if not _is_setting(key)}
        env |= {"PYTHONPATH": str(ROOT)}
        env |= {f"HELOISE_{name}": value for name, value in variables.items()}
        self.process = forker.start(
            module, words, env=env, cwd=folder, log=self.log, machine=machine
        )

    async def delivers(self) -> bool | None:
        """Whether its delivery has started."""
        return (self.log.exists() and "delivery started" in self.log.read_text()) or None

    def kill(self) -> None:
        """Kill it with no chance to tidy up (SIGKILL)."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; answers the exit code."""
        self.process.terminate()
        return self.process.wait(timeout=60)

    async def ended(self) -> int:
        """Return the exit code, once it has ended."""

        async def fact() -> int | None:
            return self.process.poll()

        return await until(fact)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def wait_ready(self) -> None:
        """Return once it takes requests."""
        async with httpx.AsyncClient(base_url=self.url, verify=NO_AUTHORITIES) as http:

            async def fact() -> bool | None:
                assert self.process.poll() is None, self.log.read_text()
                try:
                    return (await http.get("/readyz?delivery=false")).status_code == 200 or None
                except httpx.TransportError:
                    return None

            await until(fact)


def _is_setting(variable: str) -> bool:
    return variable.startswith("HELOISE_")


async def cells(database_url: str) -> list[tuple[str, object]]:
    """Every cell of every table, as the database itself has it."""
    names = [table.name for table in metadata.sorted_tables]
    if (path := sqlite_path(database_url)) is not None:
        return _sqlite_cells(path, names)
    counts = " UNION ALL ".join(
        f"SELECT '{name}' WHERE EXISTS (SELECT FROM {name})"  # noqa: S608 - our own
        for name in names
    )
    connection = await asyncpg.connect(database_url)
    try:
        filled = [row[0] for row in await connection.fetch(counts)]
        return [
            (f"{name}.{column}", value)
            for name in filled
            for row in await connection.fetch(f"SELECT * FROM {name}")  # noqa: S608 - our own
            for column, value in row.items()
        ]
    finally:
        await connection.close()


def _sqlite_cells(path: Path, names: Iterable[str]) -> list[tuple[str, object]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [
            (f"{name}.{column}", row[column])
            for name in names
            for row in connection.execute(f"SELECT * FROM {name}")  # noqa: S608 - our own
            for column in row.keys()  # noqa: SIM118 - a row iterates over its values
        ]


def spellings(secret: str) -> list[bytes]:
    """The secret as it may turn up: plain, in base64 by itself and as SASL writes it."""
    plain = secret.encode()
    return [
        plain,
        *(base64.b64encode(b" " * shift + plain)[4:-4] for shift in range(3)),
        json.dumps(secret).encode()[1:-1],
    ]


async def assert_no_secret(database_url: str, watched: Watched, *logs: Path) -> None:
    """No answer, log line or database cell holds the canary in any spelling (invariant 9)."""
    places = {"the log": bytearray(watched.log.getvalue().encode())}
    places |= {f"answer {n}": bytearray(text.encode()) for n, text in enumerate(watched.answers)}
    places |= {path.name: bytearray(path.read_bytes()) for path in logs}
    for name, value in await cells(database_url):
        raw = value if isinstance(value, bytes) else str(value).encode()
        places.setdefault(name, bytearray()).extend(raw)
    for spelling in spellings(CANARY):
        leaks = [name for name, text in places.items() if spelling in text]
        assert not leaks, f"{CANARY} was found in {leaks}"
