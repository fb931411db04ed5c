"""`heloise submission`, and `serve` with HELOISE_SUBMISSION: what they need to start."""

import socket
from pathlib import Path

import pytest
import trustme

from benchmarks.trial.processes import held_port
from tests.support.terminal import Terminal


def test_it_asks_for_a_secret_key(terminal: Terminal) -> None:
    """As all that accepts messages does."""
    result = terminal.run("submission")
    assert result.code == 2
    assert "HELOISE_SECRET_KEYS: not set" in result.err


@pytest.mark.one_database
def test_it_needs_postgresql(operator: Terminal) -> None:
    """SQLite has one writer; there `serve` does it."""
    result = operator.run("submission")
    assert result.code == 2
    assert "`heloise submission` needs PostgreSQL" in result.err
    assert "HELOISE_SUBMISSION=true for `heloise serve`" in result.err


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_it_needs_a_certificate(operator: Terminal, tmp_path: Path) -> None:
    """Nobody logs in without TLS."""
    process_terminal = Terminal(tmp_path)
    process_terminal.environment |= operator.environment
    result = process_terminal.run("submission")
    assert result.code == 2
    assert "HELOISE_SUBMISSION_TLS_CERTIFICATE: not set, should be an existing file" in result.err
    assert "Traceback" not in result.err


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "HELOISE_SUBMISSION_TLS_CERTIFICATE: not set, should be an existing file"),
        (
            {"SUBMISSION_TLS_CERTIFICATE": "/nowhere/tls.pem"},
            "HELOISE_SUBMISSION_TLS_CERTIFICATE: found '/nowhere/tls.pem', should be an existing",
        ),
        (
            {"SUBMISSION_ALLOW_PLAINTEXT_AUTH": "true", "SUBMISSION_HOST": "192.0.2.1"},
            "HELOISE_SUBMISSION_ALLOW_PLAINTEXT_AUTH: true needs a loopback address",
        ),
        (
            {"SUBMISSION_ALLOW_PLAINTEXT_AUTH": "true", "SUBMISSION_PORTS": "none"},
            "HELOISE_SUBMISSION_PORTS: none, should be one port or more",
        ),
    ],
)
def test_serve_says_what_submission_lacks(
    operator: Terminal, variables: dict[str, str], message: str
) -> None:
    """Before it serves anything."""
    with held_port() as port:
        words = ("serve", "--host", "127.0.0.1", "--port", str(port))
        result = operator.run(*words, SUBMISSION="true", **variables)
    assert result.code == 2
    assert message in result.err


@pytest.mark.one_database
@pytest.mark.parametrize("field", ["SUBMISSION_PORTS", "SUBMISSION_TLS_PORTS"])
def test_a_port_that_is_taken_is_told(operator: Terminal, tmp_path: Path, field: str) -> None:
    """By its setting."""
    certificate = tmp_path / "tls.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    ports = {"SUBMISSION_PORTS": "none", "SUBMISSION_TLS_PORTS": "none"}
    with socket.create_server(("127.0.0.1", 0)) as listener, held_port() as http_port:
        port = str(listener.getsockname()[1])
        result = operator.run(
            *("serve", "--host", "127.0.0.1", "--port", str(http_port)),
            SUBMISSION="true",
            SUBMISSION_TLS_CERTIFICATE=str(certificate),
            **(ports | {field: port}),
        )
    assert result.code == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in result.err
    assert f"HELOISE_{field}" in result.err
