"""`heloise serve`, `worker`, `migrate`: what they ask for before they start, how they stop."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.cli.terminal import Terminal


def unused_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(terminal: Terminal, *words: str, **variables: str) -> Iterator[tuple[str, list[str]]]:
    """A served API's address and what it logs; ends by SIGTERM, and has to end well."""
    port = unused_port()
    process = terminal.start("serve", "--port", str(port), *words, **variables)
    assert process.stderr is not None
    lines: list[str] = []
    try:
        for line in process.stderr:
            lines.append(line)
            if "Uvicorn running on" in line:
                break
        yield f"http://127.0.0.1:{port}", lines
    finally:
        lines += stopped(process).splitlines(keepends=True)
    assert process.returncode == 0, lines


def stopped(process: subprocess.Popen[str]) -> str:
    """What a process writes after it is told to stop."""
    process.send_signal(signal.SIGTERM)
    return process.communicate(timeout=60)[1]


@pytest.mark.parametrize("command", ["serve", "worker", "reseal"])
def test_without_a_secret_key_nothing_starts(command: str, terminal: Terminal) -> None:
    """The message says how to make one."""
    ended = terminal.run(command)
    assert ended.code == 2
    assert "HELOISE_SECRET_KEYS: not set" in ended.err
    assert "heloise secret-key" in ended.err


def test_several_processes_need_postgresql(terminal: Terminal) -> None:
    """SQLite has one writer."""
    key = terminal.done("secret-key").out.strip()
    ended = terminal.run("serve", "--workers", "2", SECRET_KEYS=key)
    assert ended.code == 2
    assert "PostgreSQL" in ended.err


def test_a_worker_asks_for_the_tables(terminal: Terminal, database_url: str) -> None:
    """It names the command that makes them."""
    key = terminal.done("secret-key").out.strip()
    ended = terminal.run("worker", SECRET_KEYS=key, DATABASE_URL=database_url)
    assert ended.code == 2
    assert "run heloise migrate" in ended.err


def test_migrate_says_where_the_schema_is_and_may_run_again(operator: Terminal) -> None:
    """The second time there is nothing to do."""
    first = operator.done("migrate").out
    assert first.startswith("The schema is at ")
    assert operator.done("migrate").out == first


def test_a_folder_that_is_missing_is_told(terminal: Terminal) -> None:
    """SQLite makes files, not folders."""
    ended = terminal.run("migrate", DATABASE_URL="sqlite:///no/such/folder/heloise.db")
    assert ended.code == 2
    assert "no/such/folder" in ended.err


def test_serve_answers_and_stops_on_sigterm(operator: Terminal) -> None:
    """Each log line is JSON, that of a refused request too, with the id that the answer carries."""
    with serving(operator) as (address, lines):
        assert httpx.get(f"{address}/readyz").status_code == 200
        response = httpx.get(f"{address}/nothing")
    assert response.status_code == 404
    assert "server" not in response.headers
    events = [json.loads(line) for line in lines]
    [access] = [event for event in events if event["event"] == "request"]
    assert access["path"] == "/nothing"
    assert access["request_id"] == response.headers["X-Request-ID"]


def test_serve_starts_on_an_old_schema_and_is_not_ready(
    terminal: Terminal, database_url: str
) -> None:
    """An orchestrator sees why at /readyz."""
    key = terminal.done("secret-key").out.strip()
    with serving(terminal, SECRET_KEYS=key, DATABASE_URL=database_url) as (address, _):
        assert httpx.get(f"{address}/healthz").status_code == 200
        response = httpx.get(f"{address}/readyz")
    assert response.status_code == 503
    assert "heloise migrate" in response.text


@pytest.mark.postgresql
def test_several_processes_serve_one_port(operator: Terminal) -> None:
    """On PostgreSQL; their lines are JSON too."""
    if operator.environment["HELOISE_DATABASE_URL"].startswith("sqlite"):
        return
    # uvicorn's parent process leaves the socket that it shares to the end of the process.
    operator.environment["PYTHONWARNINGS"] += ",ignore::ResourceWarning"
    with serving(operator, "--workers", "2", "--no-delivery") as (address, lines):
        transport = httpx.HTTPTransport(retries=20)
        with httpx.Client(base_url=address, transport=transport) as client:
            assert client.get("/healthz").status_code == 200
    assert all(json.loads(line) for line in lines)


def test_a_worker_stops_on_sigterm(operator: Terminal) -> None:
    """It ends with 0 after what it was transmitting."""
    process = operator.start("worker", LOG_LEVEL="debug")
    assert process.stderr is not None
    json.loads(process.stderr.readline())
    stopped(process)
    assert process.returncode == 0
