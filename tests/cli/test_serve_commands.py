"""`heloise serve`, `worker`, `migrate`: what they ask for before they start, how they stop."""

import asyncio
import json
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme
from sqlalchemy import text

from app.store.db.database import Database
from benchmarks.trial.processes import held_port
from tests.support.database.postgresql import Server
from tests.support.processes.forked import Piped
from tests.support.terminal import Terminal


@contextmanager
def serving(terminal: Terminal, *words: str, **variables: str) -> Iterator[tuple[str, list[str]]]:
    """A served API's address and what it logs; ends by SIGTERM, and has to end well."""
    with held_port() as port:
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
            lines += stop(process).splitlines(keepends=True)
        assert process.returncode == 0, lines


def stop(process: subprocess.Popen[str] | Piped) -> str:
    """What a process writes after it is told to stop."""
    process.send_signal(signal.SIGTERM)
    return process.communicate()[1]


@pytest.mark.parametrize("command", ["serve", "worker", "reseal"])
def test_without_a_secret_key_nothing_starts(command: str, terminal: Terminal) -> None:
    """The message says how to make one."""
    result = terminal.run(command)
    assert result.code == 2
    assert "HELOISE_SECRET_KEYS: not set" in result.err
    assert "heloise secret-key" in result.err


def test_several_processes_need_postgresql(terminal: Terminal) -> None:
    """SQLite has one writer."""
    key = terminal.done("secret-key").out.strip()
    result = terminal.run("serve", "--workers", "2", SECRET_KEYS=key)
    assert result.code == 2
    assert "PostgreSQL" in result.err


def test_a_worker_asks_for_the_tables(
    terminal: Terminal, process_terminal: Terminal, database_url: str
) -> None:
    """It names the command that makes them."""
    key = terminal.done("secret-key").out.strip()
    result = process_terminal.run("worker", SECRET_KEYS=key, DATABASE_URL=database_url)
    assert result.code == 2
    assert "run heloise migrate" in result.err


def test_migrate_says_where_the_schema_is_and_may_run_again(operator: Terminal) -> None:
    """The second time there is nothing to do."""
    first = operator.done("migrate").out
    assert first.startswith("The schema is at ")
    assert operator.done("migrate").out == first


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///:memory:",
        "sqlite:///x.db?mode=ro",
        "postgresql://u:canary@127.0.0.1:1/d?colour=red",
    ],
)
@pytest.mark.parametrize("command", ["migrate", "doctor", "worker"])
def test_a_url_that_cannot_be_kept_is_one_line(command: str, url: str, terminal: Terminal) -> None:
    """It is wrong before anything is opened."""
    result = terminal.run(command, DATABASE_URL=url)
    assert result.code == 2
    assert "HELOISE_DATABASE_URL: found a value of" in result.err
    assert result.err.count("\n") <= 2
    assert "canary" not in result.err


@pytest.mark.postgresql
def test_a_database_in_another_encoding_is_refused(
    terminal: Terminal, process_terminal: Terminal, postgresql: Server
) -> None:
    """Before anything is written that it could not hold."""
    key = terminal.done("secret-key").out.strip()
    settings = {"SECRET_KEYS": key, "DATABASE_URL": postgresql.encoded("LATIN1")}
    with held_port() as port:
        result = [
            terminal.run("migrate", **settings),
            terminal.run("tenant", "list", **settings),
            process_terminal.run("serve", "--port", str(port), **settings),
        ]
    for process in result:
        assert process.code == 2
        assert "has the encoding LATIN1" in process.err
        assert "ENCODING 'UTF8'" in process.err
        assert "Traceback" not in process.err
    examined = terminal.run("doctor", **settings)
    assert examined.code == 1
    assert "LATIN1" in examined.out


def test_a_newer_schema_asks_for_a_newer_version(operator: Terminal) -> None:
    """`heloise migrate`, which would refuse, is not what to run."""
    url = operator.environment["HELOISE_DATABASE_URL"]
    head = asyncio.run(set_schema(url, "9999"))
    try:
        for words in (("tenant", "list"), ("migrate",)):
            result = operator.run(*words)
            assert result.code == 2
            assert "at '9999'" in result.err
            assert "run the newer version" in result.err
            assert "run heloise migrate" not in result.err
        assert "run the newer version" in operator.run("doctor").out.replace("\n", " ")
    finally:  # other tests have the database after this one
        asyncio.run(set_schema(url, head))


async def set_schema(url: str, revision: str) -> str:
    """Have the database be at this revision; answers the one that it was at."""
    database = Database(url)
    async with database.transaction() as connection:
        before = await connection.execute(text("SELECT version_num FROM alembic_version"))
        update = text("UPDATE alembic_version SET version_num = :revision")
        await connection.execute(update, {"revision": revision})
    await database.close()
    return str(before.scalar_one())


@pytest.mark.one_database
def test_who_cannot_listen_delivers_nothing(operator: Terminal, process_terminal: Terminal) -> None:
    """The port is taken before anything else begins."""
    settings = {
        name: operator.environment[f"HELOISE_{name}"] for name in ("DATABASE_URL", "SECRET_KEYS")
    }
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        result = process_terminal.run("serve", "--host", "127.0.0.1", "--port", port, **settings)
    assert result.code == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in result.err
    assert "--port (HELOISE_PORT)" in result.err
    assert "delivery started" not in result.err


@pytest.mark.one_database
def test_serve_listens_on_a_port_for_resends_sdks(operator: Terminal) -> None:
    """Its root is the Resend-compatible API, and the other port's root is not."""
    with held_port() as port, serving(operator, RESEND_PORT=str(port)) as (address, _):
        refused = httpx.get(f"http://127.0.0.1:{port}/emails", timeout=60)
        native = httpx.get(f"{address}/emails", timeout=60)
    assert (refused.status_code, refused.json()["name"]) == (401, "missing_api_key")
    assert native.json()["type"] == "/problems/not-found"


@pytest.mark.one_database
@pytest.mark.parametrize("command", ["serve", "worker"])
def test_traces_that_cannot_be_exported_are_told(operator: Terminal, command: str) -> None:
    """Before anything starts; the error says what to write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(operator.environment, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        patch.setitem(operator.environment, "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        result = operator.run(command)
    assert result.code == 2
    assert "OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc', should be http/protobuf" in result.err


def test_a_folder_that_is_missing_is_told(terminal: Terminal) -> None:
    """SQLite makes files, not folders."""
    result = terminal.run("migrate", DATABASE_URL="sqlite:///no/such/folder/heloise.db")
    assert result.code == 2
    assert "no/such/folder" in result.err


@pytest.mark.one_database
def test_serve_starts_on_an_old_schema_and_is_not_ready(
    terminal: Terminal, database_url: str
) -> None:
    """An orchestrator sees why at /readyz."""
    key = terminal.done("secret-key").out.strip()
    with serving(terminal, SECRET_KEYS=key, DATABASE_URL=database_url) as (address, _):
        assert httpx.get(f"{address}/healthz", timeout=60).status_code == 200
        response = httpx.get(f"{address}/readyz", timeout=60)
    assert response.status_code == 503
    assert "heloise migrate" in response.text


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_several_processes_serve_one_port(operator: Terminal) -> None:
    """On PostgreSQL; their lines are JSON too."""
    # uvicorn's parent process leaves the socket that it shares to the end of the process.
    operator.environment["PYTHONWARNINGS"] += ",ignore::ResourceWarning"
    with serving(
        operator, "--workers", "2", "--no-delivery", LOG_LEVEL="debug"
    ) as address_and_lines:
        address, lines = address_and_lines
        transport = httpx.HTTPTransport(retries=20)
        with httpx.Client(base_url=address, transport=transport, timeout=60) as client:
            assert client.get("/healthz").status_code == 200
    assert all(json.loads(line) for line in lines)
    assert not has_ansi(lines)


def has_ansi(lines: list[str]) -> bool:
    """Whether a line holds an escape sequence, as it is or as JSON writes it."""
    return any(escape in line for line in lines for escape in ("\x1b", "\\u001b", "\x9b"))


@pytest.mark.one_database
def test_lines_in_json_have_no_colours(operator: Terminal) -> None:
    """Neither uvicorn's, which it writes even without a terminal, nor those of a path."""
    operator.environment["FORCE_COLOR"] = "1"
    with serving(operator, LOG_LEVEL="debug", LOG_FORMAT="json") as (address, lines):
        httpx.get(f"{address}/%1b[31mred%1b[0m/%c2%9b2Jgone?x=%1b]0;title%07", timeout=60)
    events = [json.loads(line) for line in lines]
    paths = [event["path"] for event in events if event["event"] == "request"]
    assert "/red/gone" in paths
    assert any(event["logger"].startswith("uvicorn") for event in events)
    assert not has_ansi(lines)


@pytest.mark.one_database
def test_a_workers_lines_have_no_colours(operator: Terminal) -> None:
    """Its probe's server is uvicorn too."""
    process = operator.start("worker", LOG_LEVEL="debug", LOG_FORMAT="json")
    assert process.stderr is not None
    lines = [process.stderr.readline()]
    lines += stop(process).splitlines()
    assert all(json.loads(line) for line in lines)
    assert not has_ansi(lines)


@pytest.mark.one_database
def test_a_worker_stops_on_sigterm(operator: Terminal) -> None:
    """It ends with 0 after what it was transmitting."""
    process = operator.start("worker", LOG_LEVEL="debug")
    assert process.stderr is not None
    json.loads(process.stderr.readline())
    stop(process)
    assert process.returncode == 0


@pytest.fixture
def ca(tmp_path: Path) -> trustme.CA:
    """An authority, whose certificate lies beside the server's."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return authority


def client_context(ca: trustme.CA, *names: str) -> ssl.SSLContext:
    """A client's context, with a certificate of its own where it has a name."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    if names:
        ca.issue_cert(*names).configure_cert(context)
    return context


@pytest.mark.one_database
def test_serve_answers_over_tls_and_stops_on_sigterm(
    operator: Terminal, ca: trustme.CA, tmp_path: Path
) -> None:
    """By a certificate from a file.

    Each log line is JSON, that of a refused request too, with the id that the answer carries. One
    that went well has no line: to write it takes as long as to insert a message.
    """
    with serving(operator, TLS_CERTIFICATE=str(tmp_path / "server.pem")) as (address, lines):
        url = address.replace("http:", "https:")
        with httpx.Client(base_url=url, timeout=60, verify=client_context(ca)) as client:
            assert client.get("/readyz").status_code == 200
            response = client.get("/nothing")
    assert response.status_code == 404
    assert "Server" not in response.headers  # nor by which version of what
    events = [json.loads(line) for line in lines]
    [access] = [event for event in events if event["event"] == "request"]
    assert access["path"] == "/nothing"
    assert access["request_id"] == response.headers["X-Request-ID"]
    assert not [line for line in lines if "/readyz" in line]


@pytest.mark.one_database
def test_it_serves_those_whose_certificate_it_knows(
    operator: Terminal, ca: trustme.CA, tmp_path: Path
) -> None:
    """And nobody else, where an authority for clients is named."""
    files = {
        "TLS_CERTIFICATE": str(tmp_path / "server.pem"),
        "TLS_CLIENT_CA": str(tmp_path / "ca.pem"),
    }
    with serving(operator, **files) as (http_url, _):
        url = http_url.replace("http:", "https:")
        known = client_context(ca, "proxy.example.com")
        assert httpx.get(f"{url}/healthz", timeout=60, verify=known).status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/healthz", timeout=60, verify=client_context(ca))


@pytest.mark.one_database
@pytest.mark.parametrize("setting", ["TLS_KEY", "TLS_CLIENT_CA"])
def test_tls_without_a_certificate_is_told(
    operator: Terminal, ca: trustme.CA, tmp_path: Path, setting: str
) -> None:
    """It would be served in clear."""
    assert ca
    result = operator.run("serve", **{setting: str(tmp_path / "ca.pem")})
    assert result.code == 2
    assert "HELOISE_TLS_CERTIFICATE: not set" in result.err


@pytest.mark.one_database
def test_a_certificate_that_is_not_there_is_told(operator: Terminal) -> None:
    """As any other wrong setting."""
    result = operator.run("serve", TLS_CERTIFICATE="/nowhere/server.pem")
    assert result.code == 2
    assert (
        "HELOISE_TLS_CERTIFICATE: found '/nowhere/server.pem', should be an existing file"
        in result.err
    )
