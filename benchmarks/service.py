"""Processes to measure: Heloise's own over one database, and the plain API's."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from app.store.vault import new_key
from benchmarks.floors import SENDER

Process = subprocess.Popen[bytes]

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.02
# Every status that a message has before or instead of `sent`.
UNSENT: Final = ("scheduled", "queued", "sending", "partially_sent", "failed", "cancelled", "held")


class EndedError(RuntimeError):
    """A process ended that should run, or ended badly."""


@contextmanager
def process(*words: str, folder: Path, environment: Mapping[str, str]) -> Iterator[Process]:
    """A Python module as a process, its log in `folder`; ends by SIGTERM, and has to end well."""
    log = folder / f"{secrets.token_hex(4)}.log"
    with log.open("wb") as file:
        started = Process(
            [sys.executable, "-m", *words], cwd=folder, env=environment, stdout=file, stderr=file
        )
    try:
        yield started
    finally:
        started.terminate()
        code = started.wait(STOP_SECONDS)
        if code not in (0, -signal.SIGTERM):
            raise EndedError(f"{' '.join(words)} ended with {code}:\n{log.read_text()[-4000:]}")


def unused_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_up(url: str, started: Process) -> None:
    """Wait for a server to answer; raises TimeoutError, and EndedError where its process has."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if started.poll() is not None:
            raise EndedError(url)
        try:
            if httpx.get(f"{url}/healthz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(POLL_SECONDS)
    raise TimeoutError(f"{url} did not come up within {START_SECONDS:g} s")


def _environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HELOISE_")}
    return kept | {"PYTHONPATH": str(Path(__file__).parents[1])} | more


@contextmanager
def serving_plain_api(folder: Path) -> Iterator[str]:
    """The floor's API behind uvicorn as Heloise runs it; answers its URL."""
    port = unused_port()
    words = ("uvicorn", "benchmarks.floors:plain_api", "--factory", "--port", str(port))
    options = ("--loop", "uvloop", "--http", "httptools", "--no-access-log")
    with process(*words, *options, folder=folder, environment=_environment()) as api:
        url = f"http://127.0.0.1:{port}"
        wait_until_up(url, api)
        yield url


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant that may send through a running Heloise."""

    url: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """What its requests are sent with."""
        return {"Authorization": f"Bearer {self.key}"}

    def count_is_zero(self, status: str) -> bool:
        """Whether no message has this status."""
        query = httpx.QueryParams(status=status, limit=1)
        answer = httpx.get(f"{self.url}/messages", params=query, headers=self.headers)
        return not answer.raise_for_status().json()["items"]

    def raw_message(self) -> bytes:
        """The newest message as it goes on the wire."""
        with httpx.Client(base_url=self.url, headers=self.headers) as http:
            newest = (
                http.get("/messages", params={"limit": 1}).raise_for_status().json()["items"][0]
            )
            return http.get(f"/messages/{newest['id']}/raw").raise_for_status().content

    def wait_settled(self, *, within_seconds: float) -> float:
        """Wait until nothing is queued or in transmission; returns when, by `time.monotonic`.

        Raises TimeoutError; RuntimeError if a message ends otherwise than `sent`.
        """
        deadline = time.monotonic() + within_seconds
        while not (self.count_is_zero("queued") and self.count_is_zero("sending")):
            if time.monotonic() > deadline:
                raise TimeoutError(f"messages are unsettled after {within_seconds:g} s")
            time.sleep(POLL_SECONDS)
        settled_at = time.monotonic()
        if wrong := [status for status in UNSENT if not self.count_is_zero(status)]:
            raise RuntimeError(f"some messages are {', '.join(wrong)}")
        return settled_at


class Heloise:
    """Heloise's commands over one database."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder = folder
        self._admin_key = new_key()
        self._environment = _environment(
            HELOISE_DATABASE_URL=database_url,
            HELOISE_ADMIN_KEY=self._admin_key,
            HELOISE_SECRET_KEYS=new_key(),
            HELOISE_ALLOW_PRIVATE_HOSTS="true",
            HELOISE_ALLOWED_PORTS="1-65535",
        )

    def migrate(self) -> None:
        """Make the tables."""
        subprocess.run(
            [sys.executable, "-m", "app.cli", "migrate"],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The API without delivery; answers its URL."""
        port = unused_port()
        words = ("app.cli", "serve", "--no-delivery", "--port", str(port))
        with process(*words, folder=self._folder, environment=self._environment) as api:
            url = f"http://127.0.0.1:{port}"
            wait_until_up(url, api)
            yield url

    @contextmanager
    def working(self) -> Iterator[None]:
        """One worker."""
        words = ("app.cli", "worker")
        with process(*words, folder=self._folder, environment=self._environment):
            yield

    def tenant(self, url: str, *, smtp_port: int) -> Tenant:
        """A new tenant with a profile for the server on this port of loopback."""
        with httpx.Client(base_url=url) as http:

            def made(path: str, key: str, **body: Any) -> Any:  # noqa: ANN401 - JSON is anything
                headers = {"Authorization": f"Bearer {key}"}
                return http.post(path, json=body, headers=headers).raise_for_status().json()

            tenant = made("/tenants", self._admin_key, slug="bench")
            keys, scopes = f"/tenants/{tenant['id']}/keys", ["profiles:manage", "messages:send"]
            key = made(keys, self._admin_key, name="bench", scopes=[*scopes, "messages:read"])[
                "key"
            ]
            made(
                "/profiles",
                key,
                name="sink",
                host="127.0.0.1",
                port=smtp_port,
                tls="none",
                ehlo_name="mail.example.com",
                default_from=SENDER,
            )
            return Tenant(url, key)
