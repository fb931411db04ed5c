"""Processes of a trial: Python modules that are started, waited for, and stopped."""

import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from app.settings.model import PREFIX

Process = subprocess.Popen[bytes]

ROOT: Final = Path(__file__).parents[2]
START_SECONDS: Final = 120.0  # what a busy machine may take to start a process
STOP_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.02
TOLD_CHARACTERS: Final = 4000


class EndedError(RuntimeError):
    """A process ended that should run, or ended badly."""


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without any setting of Heloise, and with `more`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    return environment | {"PYTHONPATH": str(ROOT)} | more


@contextmanager
def process(*words: str, folder: Path, environment: Mapping[str, str]) -> Iterator[Process]:
    """A Python module as a process, its log in `folder`; ends by SIGTERM, and has to end well."""
    log = folder / f"{secrets.token_hex(4)}.log"
    with log.open("wb") as file:
        child = Process(
            [sys.executable, "-m", *words], cwd=folder, env=environment, stdout=file, stderr=file
        )
    try:
        yield child
    finally:
        code = child.poll()
        if code is None:
            child.terminate()
            code = child.wait(STOP_SECONDS)
        if code not in (0, -signal.SIGTERM):
            log_text = log.read_text(errors="replace")[-TOLD_CHARACTERS:]
            raise EndedError(f"{' '.join(words)} exited with {code}:\n{log_text}")


def unused_port() -> int:
    """A TCP port that nobody listens on just now."""
    with held_port() as port:
        return port


@contextmanager
def held_port() -> Iterator[int]:
    """A TCP port that the system gives to nobody else meanwhile: a process may listen on it.

    A socket that is bound and does not listen holds it. On Linux, who names the port may bind it as
    well, since servers let addresses be reused; elsewhere it is only free just now.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        if sys.platform != "linux":
            holder.close()
        yield port


def wait_until_listening(port: int) -> None:
    """Wait until a port of loopback takes connections; raises OSError if it never does."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
        else:
            return


def read(url: str) -> bytes:
    """What a GET answers; raises OSError where nobody does, or not with 200."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=START_SECONDS)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        content = answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{url}: {error!r}") from None
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ConnectionError(f"{url} answered {answer.status}")
    return content


def wait_until_answers(url: str, started: Process) -> None:
    """Wait for 200 at a URL; raises TimeoutError, and EndedError where its process has ended."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if started.poll() is not None:
            raise EndedError(f"{url} does not answer: its process has exited")
        try:
            read(url)
        except OSError:
            time.sleep(POLL_SECONDS)
        else:
            return
    raise TimeoutError(f"{url} did not start within {START_SECONDS:g} s")
