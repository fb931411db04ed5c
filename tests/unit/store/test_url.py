"""HELOISE_DATABASE_URL: libpq's parameters, as far as asyncpg keeps them, and SQLite's file."""

import socket
from pathlib import Path

import pytest

from app.store.db.url import (
    PostgresqlUrl,
    SqliteUrl,
    mask_passwords,
    parse_database_url,
    replace_database,
)

SECRET = "canary"


@pytest.mark.parametrize(
    ("url", "dsn"),
    [
        ("postgres://h/d", "postgresql://h/d"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgresql://u:%40%2F@h", "postgresql://u:%40%2F@h"),
        ("postgresql://u:a#b@h/d", "postgresql://u:a%23b@h/d"),
        ("postgresql://[::1]:5433/d", "postgresql://[::1]:5433/d"),
        ("postgresql:///d?host=/run/pg", "postgresql:///d?host=%2Frun%2Fpg"),
        ("postgresql://h/d?sslmode=require", "postgresql://h/d?sslmode=require"),
        ("postgresql://h/d?ssl=true", "postgresql://h/d?sslmode=require"),
        ("postgresql://h/d?application_name=a+b", "postgresql://h/d?application_name=a%2Bb"),
        ("postgresql://h/d?options=-c%20x%3D1", "postgresql://h/d?options=-c+x%3D1"),
        ("postgresql://h/d?fallback_application_name=x", "postgresql://h/d?application_name=x"),
        ("postgresql://h/d?channel_binding=prefer&gssencmode=disable", "postgresql://h/d"),
        ("postgresql://h/d?connect_timeout=0", "postgresql://h/d"),
    ],
)
def test_parameters_of_libpq_are_passed_on(url: str, dsn: str) -> None:
    """What asyncpg does by itself is left out."""
    parsed = parse_database_url(url)
    assert isinstance(parsed, PostgresqlUrl)
    assert (parsed.dsns, parsed.connect_seconds) == ([dsn], None)
    assert parsed.socket_options == ()


@pytest.mark.parametrize(
    ("target", "tried"),
    [
        ("", ["u@a:5432/d", "u@b/d"]),
        (
            "?target_session_attrs=read-write",
            ["u@a:5432/d?target_session_attrs=read-write", "u@b/d?target_session_attrs=read-write"],
        ),
        (
            "?target_session_attrs=prefer-standby",
            [
                "u@a:5432/d?target_session_attrs=standby",
                "u@b/d?target_session_attrs=standby",
                "u@a:5432/d?target_session_attrs=any",
                "u@b/d?target_session_attrs=any",
            ],
        ),
    ],
)
def test_hosts_are_tried_one_by_one(target: str, tried: list[str]) -> None:
    """Each with its own time; who prefers a standby takes another server only if there is none."""
    parsed = parse_database_url(f"postgresql://u@a:5432,b/d{target}")
    assert isinstance(parsed, PostgresqlUrl)
    assert [dsn.removeprefix("postgresql://") for dsn in parsed.dsns] == tried


def test_a_host_that_does_not_answer_is_tried_last_for_each_target() -> None:
    """So a silent standby still comes before the servers that are no standby."""
    parsed = parse_database_url("postgresql://a,b/d?target_session_attrs=prefer-standby")
    assert isinstance(parsed, PostgresqlUrl)
    a_standby, b_standby, a_any, b_any = parsed.dsns
    parsed.try_last(a_standby)
    assert parsed.dsns == [b_standby, a_standby, b_any, a_any]


def test_times_are_kept_for_the_connection() -> None:
    """By other ways than a DSN, where asyncpg has any."""
    parsed = parse_database_url("postgresql://h/d?connect_timeout=7&keepalives_idle=30")
    assert isinstance(parsed, PostgresqlUrl)
    assert parsed.connect_seconds == 7
    assert (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1) in parsed.socket_options
    assert (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30) in parsed.socket_options


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://h/d?sslmod=require", "has no parameter sslmod; did you mean sslmode?"),
        ("postgresql://h/d?pool_size=5", "no parameter pool_size"),
        ("postgresql://h/d?hostaddr=10.0.0.1", "no parameter hostaddr"),
        ("postgresql://h/d?channel_binding=require", "only channel_binding=disable"),
        ("postgresql://h/d?client_encoding=latin1", "client_encoding=UTF8"),
        ("postgresql://h/d?sslmode=on", "write sslmode as one of disable"),
        ("postgresql://h/d?target_session_attrs=rw", "as one of any, primary, standby"),
        ("postgresql://h/d?sslmode", "the parameter sslmode has no value"),
        ("postgresql://h/d?connect_timeout=soon", "connect_timeout as a whole number"),
        ("postgresql://h/d?sslrootcert=/no/such.crt", "the file of sslrootcert does not exist"),
        ("postgresql://h:port/d", "a port from 1 to 65535"),
        ("postgresql://h:70000/d", "a port from 1 to 65535"),
        (f"postgresql://u:{SECRET}/x@h/d", "%2F for /"),
        (f"postgresql://u:{SECRET}@x@h/d", "%40 for @"),
        ("mysql://h/d", "not a URL of SQLite or PostgreSQL"),
        (SECRET, "not a URL of SQLite or PostgreSQL"),
        ("sqlite:///:memory:", "write sqlite:///file.db"),
        ("sqlite://", "write sqlite:///file.db"),
        ("sqlite:///file::memory:?uri=true", "no parameter uri"),
        ("sqlite:///x.db?mode=ro", "no parameter mode"),
        ("sqlite:///x.db?timeout=long", "write timeout as a number of seconds"),
        ("sqlite://x.db", "three slashes"),
    ],
)
def test_what_cannot_be_kept_is_refused(url: str, words: str) -> None:
    """In a line that says what to write, and holds no value of the URL."""
    with pytest.raises(ValueError, match=r"^[^\n]+$") as excinfo:
        parse_database_url(url)
    assert words in str(excinfo.value)
    assert SECRET not in str(excinfo.value)


def test_a_file_of_sqlite_has_a_patience() -> None:
    """Its path is relative, or absolute after four slashes."""
    assert parse_database_url("sqlite:///a/b.db") == SqliteUrl(Path("a/b.db"), 5.0)
    assert parse_database_url("sqlite:////a/b.db?timeout=2") == SqliteUrl(Path("/a/b.db"), 2.0)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:s3@a,b:5/d?sslpassword=s3", "postgresql://u:***@a,b:5/d?sslpassword=***"),
        (
            "postgresql://h/d?password=s3&sslmode=allow",
            "postgresql://h/d?password=***&sslmode=allow",
        ),
        ("sqlite:///x.db", "sqlite:///x.db"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    """Neither before the host nor among the parameters."""
    assert mask_passwords(url) == shown


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("postgresql://u:p@a:1,b:2/d?sslmode=allow", "postgresql://u:p@a:1,b:2/new?sslmode=allow"),
        ("postgresql://u@h", "postgresql://u@h/new"),
        ("sqlite:///x.db?timeout=2", "sqlite:///new?timeout=2"),
    ],
)
def test_another_database_has_the_same_server(url: str, other: str) -> None:
    """All else of the URL stays."""
    assert replace_database(url, "new") == other
