"""`heloise profile verify` and `heloise doctor`: what will fail, told before it does."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from benchmarks.trial.processes import held_port
from tests.support.servers.dns_server import DnsServer
from tests.support.servers.smtp_server import SmtpServer
from tests.support.terminal import Terminal

CANARY = "canary-9d1e-in-the-coal-mine"
GOOD = "relay.example.com"


@contextmanager
def serve_smtp(*behaviours: Any, **fields: Any) -> Iterator[SmtpServer]:
    """A scripted server on a loop of its own, since a command keeps its caller waiting."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = SmtpServer(*behaviours, **fields)
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def acme(operator: Terminal) -> Iterator[Terminal]:
    """An operator with a tenant, on a network of its own."""
    with DnsServer() as dns, held_port() as port:
        dns.add(GOOD, "A", "127.0.0.1")
        dns.point("127.0.0.1", GOOD)
        operator.environment |= {
            "HELOISE_ALLOW_PRIVATE_HOSTS": "true",
            "HELOISE_ALLOWED_PORTS": "1-65535",
            "HELOISE_DNS_SERVERS": dns.setting,
            "HELOISE_EHLO_NAME": "service.example.com",
            "HELOISE_PORT": str(port),
        }
        operator.done("tenant", "create", "acme")
        yield operator


def _profile(acme: Terminal, server: SmtpServer, name: str = "main", *more: str) -> None:
    where = ("--host", "127.0.0.1", "--port", str(server.port), "--tls", "none")
    acme.done("profile", "create", "-t", "acme", "--name", name, *where, *more)


def _only_good(name: str) -> str | None:
    return None if name == GOOD else f"550 5.7.1 HELO {name} is not welcome"


@pytest.mark.one_database
def test_a_profile_that_works_is_told_stage_by_stage(acme: Terminal) -> None:
    """Nothing is sent, and it ends with 0."""
    with serve_smtp() as server:
        _profile(acme, server, "main", "--default-from", "a@example.com")
        words = ("profile", "verify", "main", "-t", "acme", "--recipient", "b@example.org")
        result = acme.done(*words, "--transcript")
        assert "All tested stages succeeded." in result.out
        assert "C: RCPT TO:<b@example.org>" in result.out
        report = acme.done(*words, "--json").json
    assert report["ok"]
    assert [
        stage["status"] for stage in report["stages"] if stage["stage"] in {"mail", "rcpt"}
    ] == [
        "ok",
        "ok",
    ]
    assert server.messages == []


@pytest.mark.one_database
def test_a_name_that_is_refused_comes_with_one_that_is_not(acme: Terminal) -> None:
    """It ends with 1, and `profile show` says the same from then on."""
    with serve_smtp({"ehlo": _only_good}) as server:
        _profile(acme, server)
        result = acme.run("profile", "verify", "main", "-t", "acme")
        assert result.code == 1
        assert "Failed: ehlo_rejected." in result.out
        assert f"Set `ehlo_name` to {GOOD}:" in result.out
        body = acme.done("profile", "show", "main", "-t", "acme", "--json").json
        assert body["recommended_ehlo_name"] == GOOD
        acme.done("profile", "update", "main", "-t", "acme", "--ehlo-name", GOOD)
        acme.done("profile", "verify", "main", "-t", "acme")


@pytest.mark.one_database
def test_no_password_is_printed(acme: Terminal) -> None:
    """Not even where the server says it back."""
    with serve_smtp({"auth": f"535 5.7.8 {CANARY} is wrong"}, users={"ann": CANARY}) as server:
        acme.run(
            *("profile", "create", "-t", "acme", "--name", "main", "--host", "127.0.0.1"),
            *("--port", str(server.port), "--tls", "none", "--username", "ann"),
            *("--allow-plaintext-auth", "--password-file", "-"),
            stdin=f"{CANARY}\n",
        )
        result = acme.run("profile", "verify", "main", "-t", "acme", "--transcript", "--json")
    assert (result.code, result.json["code"]) == (1, "auth_rejected")
    assert CANARY not in acme.printed


@pytest.mark.one_database
def test_what_cannot_be_verified_is_told(acme: Terminal) -> None:
    """In a sentence, with 1."""
    acme.run("profile", "create", "-t", "acme", "-", stdin='{"name":"s","transport":"sandbox"}')
    result = acme.run("profile", "verify", "s", "-t", "acme")
    assert (result.code, result.err) == (
        1,
        "error: A sandbox has no server to verify.\n",
    )
    acme.run("profile", "create", "-t", "acme", "-", stdin='{"name":"news","transport":"sandbox"}')
    result = acme.run("profile", "verify", "new", "-t", "acme")
    message = "There is no profile 'new' here; did you mean 'news'?"
    assert (result.code, result.err) == (1, f"error: {message}\n")
    result = acme.run("profile", "verify", "nobody", "-t", "acme")
    assert (result.code, result.err) == (1, "error: There is no profile 'nobody' here.\n")


POSTGRESQL = ("server_version", "encoding", "durability", "connections", "old_transactions")
POSTGRESQL += ("replication", "autovacuum", "dead_rows", "table_sizes", "retention")
SQLITE = ("durability", "file_system", "disk", "write_ahead_log", "retention")


def test_the_doctor_looks_at_the_machine_and_at_every_profile(acme: Terminal, backend: str) -> None:
    """It exits with 0 if all is well. The PostgreSQL of the tests runs without fsync."""
    is_durable = backend == "sqlite"
    with serve_smtp() as server:
        _profile(acme, server, "one")
        _profile(acme, server, "two")
        result = acme.run("doctor", "--json")
        assert "service.example.com" in acme.run("doctor").out
    report = result.json
    assert (result.code, report["ok"]) == (0 if is_durable else 1, is_durable)
    of_database = dict.fromkeys(SQLITE if is_durable else POSTGRESQL, "ok")
    if not is_durable:
        of_database["durability"] = "failed"
    statuses = {finding["check"]: finding["status"] for finding in report["machine"]}
    assert statuses.pop("python") in {"ok", "warning"}  # as this Python was built
    assert statuses == {
        **of_database,
        "secret_keys": "ok",
        "port": "ok",
        "ehlo_name": "ok",
        "database": "ok",
        "clock": "ok",
        "delivery": "warning",
        "queue": "ok",
        "credentials": "ok",
    }
    assert [(profile["profile"], profile["verify"]["ok"]) for profile in report["profiles"]] == [
        ("one", True),
        ("two", True),
    ]


@pytest.mark.one_database
def test_the_doctor_ends_with_1_where_a_profile_will_fail(acme: Terminal) -> None:
    """And says which, why, and what to do; another tenant's is left out where one is named."""
    acme.done("tenant", "create", "other")
    with serve_smtp({"ehlo": _only_good}) as server:
        _profile(acme, server)
        result = acme.run("doctor")
        assert result.code == 1
        assert "ehlo_rejected" in result.out
        assert f"Set `ehlo_name` to {GOOD}:" in result.out
        assert acme.done("doctor", "--tenant", "other", "--json").json["profiles"] == []


def test_the_doctor_tells_a_database_without_tables(terminal: Terminal) -> None:
    """And a key that is missing, both at once; nothing is made by looking."""
    result = terminal.run("doctor", "--json", DATABASE_URL="sqlite:///none.db")
    assert result.code == 1
    findings = {finding["check"]: finding for finding in result.json["machine"]}
    assert findings["secret_keys"]["status"] == "failed"
    assert "heloise secret-key" in findings["secret_keys"]["detail"]
    assert findings["database"]["status"] == "failed"
    assert "heloise migrate" in findings["database"]["detail"]
    assert result.json["profiles"] == []
    assert not (terminal.folder / "none.db").exists()


@pytest.mark.one_database
def test_the_doctor_tells_credentials_that_do_not_open(acme: Terminal) -> None:
    """With the profile's id, and under which code delivery would fail."""
    with serve_smtp(users={"ann": CANARY}) as server:
        acme.run(
            *("profile", "create", "-t", "acme", "--name", "main", "--host", "127.0.0.1"),
            *("--port", str(server.port), "--tls", "none", "--username", "ann"),
            *("--allow-plaintext-auth", "--password-file", "-"),
            stdin=f"{CANARY}\n",
        )
        other = acme.done("secret-key").out.strip()
        result = acme.run("doctor", "--json", SECRET_KEYS=other)
    statuses = {finding["check"]: finding["status"] for finding in result.json["machine"]}
    assert (result.code, statuses["credentials"]) == (1, "failed")
    [profile] = result.json["profiles"]
    assert profile["verify"]["code"] == "credentials_unreadable"


def _hang_up(listening: socket.socket) -> None:
    listening.accept()[0].close()


@pytest.mark.one_database
def test_the_doctor_tells_a_port_that_is_taken(acme: Terminal) -> None:
    """By something that is not Heloise."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.listen(1)
        threading.Thread(target=_hang_up, args=(other,), daemon=True).start()
        port = str(other.getsockname()[1])
        acme.environment["HELOISE_PORT"] = port
        result = acme.run("doctor", "--json")
    findings = {finding["check"]: finding for finding in result.json["machine"]}
    assert (result.code, findings["port"]["status"]) == (1, "failed")
    assert f"127.0.0.1:{port}" in findings["port"]["detail"]
