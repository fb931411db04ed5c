"""Heloise itself over one database: prepared, served, delivering, as an operator would run it."""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.api_keys import service as key_actions
from app.api.api_keys.schemas import KeyCreate
from app.api.profiles.builder import build_new_profile
from app.api.profiles.schemas import ProfileCreate
from app.api.tenants import service as tenant_actions
from app.api.tenants.schemas import TenantCreate
from app.cli.database import make_audit_context
from app.domain.api_keys import generate_secret
from app.domain.secret_keys import generate_key as new_secret_key
from app.domain.types import Scope
from app.store.db.database import Database
from app.store.migrations import migrate as migrating
from app.store.profiles import queries as profiles
from benchmarks.trial.load import Load, put_load, request
from benchmarks.trial.message import CONTENT, SENDER
from benchmarks.trial.processes import (
    POLL_SECONDS,
    EndedError,
    Process,
    clean_environment,
    held_port,
    process,
    read,
    wait_until_answers,
    wait_until_listening,
)
from benchmarks.trial.sink import Counts

NAME: Final = "bench"
EHLO_NAME: Final = "mail.example.com"
UNFINISHED: Final = re.compile(rb'^heloise_messages\{status="\w+"\} ([0-9.]+)$', re.MULTILINE)
ACCEPTED: Final = 202
WITHIN_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Served:
    """An API that is served, and the key of its one tenant."""

    url: str
    key: str
    process: Process

    @property
    def headers(self) -> Mapping[str, str]:
        """What the tenant's requests are sent with."""
        return {"Authorization": f"Bearer {self.key}"}

    def accept(self, messages: int, *, connections: int, content: bytes = CONTENT) -> Load:
        """Put this many messages into the queue; raises RuntimeError if one is not accepted."""
        return post_messages(self.url, self.key, messages, connections, content)

    def unfinished(self) -> int:
        """How many messages have not come to their end, by `/metrics`."""
        matches = UNFINISHED.findall(read(f"{self.url}/metrics"))
        return sum(int(float(count)) for count in matches)

    def wait_settled(
        self, counts: Counts, messages: int, *, worker: Process | None = None
    ) -> float:
        """Wait until all have arrived and are settled; returns when, by `time.monotonic`.

        The queue is looked at only once the server has everything, so that looking costs nothing.
        Raises TimeoutError, EndedError where the worker ends, and RuntimeError if a message arrives
        that was not sent.
        """
        deadline = time.monotonic() + WITHIN_SECONDS
        while counts.messages < messages or self.unfinished():
            if worker is not None and worker.poll() is not None:
                raise EndedError("the worker has exited")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{counts.messages} of {messages} messages arrived")
            time.sleep(POLL_SECONDS)
        settled_at = time.monotonic()
        if counts.messages != messages:
            raise RuntimeError(f"{counts.messages} messages arrived, and {messages} were accepted")
        return settled_at


def post_messages(
    url: str, key: str, messages: int, connections: int, content: bytes = CONTENT
) -> Load:
    """Ask an API to send this message as often; raises RuntimeError if one is not accepted."""
    path = f"{url}/messages"
    request_data = request("POST", path, {"Authorization": f"Bearer {key}"}, content)
    load = asyncio.run(put_load(path, request_data, requests=messages, connections=connections))
    if set(load.statuses) != {ACCEPTED}:
        raise RuntimeError(f"POST /messages answered {dict(load.statuses)}")
    return load


class TrialService:
    """Heloise's processes over a database that is new.

    `environment` is what they are started in, `key` its one tenant's API key.
    """

    def __init__(self, folder: Path, database_url: str, **variables: str) -> None:
        """With `variables` as settings of its processes: `DATABASE_POOL_SIZE="4"`."""
        self.database_url = database_url
        self._folder = folder
        self.key = generate_secret()
        prefixed_variables = {f"HELOISE_{name}": value for name, value in variables.items()}
        self.environment = clean_environment(
            **prefixed_variables,
            HELOISE_DATABASE_URL=database_url,
            HELOISE_SECRET_KEYS=new_secret_key(),
            HELOISE_ADMIN_KEY=new_secret_key(),
            HELOISE_ALLOW_PRIVATE_HOSTS="true",
            HELOISE_ALLOWED_PORTS="1-65535",
        )

    def prepare(self, *, smtp_port: int) -> None:
        """Make the tables, a tenant, its key, and a profile for that port of loopback."""
        asyncio.run(self._prepare(smtp_port))

    async def _prepare(self, smtp_port: int) -> None:
        database = Database(self.database_url, pool_size=1)
        try:
            await migrating.migrate(database)
            async with database.transaction() as connection:
                await _insert_tenant(connection, secret=self.key, smtp_port=smtp_port)
        finally:
            await database.close()

    @contextmanager
    def serving(self, *words: str) -> Iterator[Served]:
        """`heloise serve` with these words after it."""
        with (
            held_port() as port,
            process(
                *("app.cli", "serve", "--port", str(port), *words),
                folder=self._folder,
                environment=self.environment,
            ) as api,
        ):
            url = f"http://127.0.0.1:{port}"
            wait_until_answers(f"{url}/readyz", api)
            yield Served(url, self.key, api)

    @contextmanager
    def working(self) -> Iterator[Process]:
        """`heloise worker`."""
        with process(
            "app.cli", "worker", folder=self._folder, environment=self.environment
        ) as worker:
            yield worker

    @contextmanager
    def submitting(self, port: int) -> Iterator[Process]:
        """`heloise submission` on this port."""
        environment = {**self.environment, "HELOISE_SUBMISSION_PORTS": str(port)}
        with process(
            "app.cli", "submission", folder=self._folder, environment=environment
        ) as server:
            wait_until_listening(port)
            yield server

    def drain(self, served: Served, counts: Counts, messages: int) -> float:
        """Let a worker deliver what is queued; returns the seconds from first connection to end."""
        counts.reset()
        with self.working() as worker:
            settled_at = served.wait_settled(counts, messages, worker=worker)
        return settled_at - counts.first_at_seconds


async def _insert_tenant(connection: AsyncConnection, *, secret: str, smtp_port: int) -> None:
    act = make_audit_context()
    tenant = await tenant_actions.create(connection, act, TenantCreate(slug=NAME))
    key = KeyCreate(name=NAME, scopes=list(Scope))
    owner = key_actions.KeyOwner(tenant.id, act)
    await key_actions.create(connection, owner, key, secret=secret)
    body = ProfileCreate.model_validate(
        {
            "name": NAME,
            "host": "127.0.0.1",
            "port": smtp_port,
            "tls": "none",
            "ehlo_name": EHLO_NAME,
            "default_from": SENDER,
        }
    )
    profile = build_new_profile(body, tenant_id=tenant.id, now=act.now)
    await profiles.insert(connection, profile=profile, sealed={})
