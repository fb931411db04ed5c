"""`benchmarks.speed` measures next to the operator's database, and leaves that as it was."""

import asyncio
import signal
import sqlite3
import time
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from tests.support.database.postgresql import Server
from tests.support.processes.forked import Forker
from tests.support.terminal import Terminal

# It starts three processes, one after another, on a machine that may be busy.
pytestmark = pytest.mark.timeout(600)

RATES = ("commits_per_second", "accepted_per_second", "delivered_per_second")


@pytest.fixture
def terminal(tmp_path: Path, forking: Forker) -> Terminal:
    """A terminal without any setting, in which each command is a run of the benchmark."""
    return Terminal(tmp_path, module="benchmarks.speed", forker=forking)


def databases(url: str) -> list[str]:
    """The names of the databases on the server."""
    return [row["datname"] for row in asyncio.run(rows(url, "SELECT datname FROM pg_database"))]


async def rows(url: str, sql: str) -> list[asyncpg.Record]:
    """What a statement answers."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


@pytest.mark.slow
@pytest.mark.postgresql
def test_it_measures_and_leaves_nothing(terminal: Terminal, postgresql: Server) -> None:
    """No secret key or table has to be there."""
    url = postgresql.empty()
    before = databases(url)
    measured = terminal.done("--messages", "200", "--json", DATABASE_URL=url).json
    assert all(measured[name] > 0 for name in RATES)
    assert measured["messages"] == 200
    assert 0 < measured["accept_p50_ms"] <= measured["accept_p99_ms"]
    assert measured["database"] == "PostgreSQL"
    assert measured["fsyncs_per_second"] is None
    assert databases(url) == before


@pytest.mark.slow
def test_what_the_operator_has_is_not_touched(terminal: Terminal) -> None:
    """Not a byte of the file, and the table that people read says what was measured."""
    path = terminal.folder / "heloise.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE messages (id TEXT)")
    connection.close()
    before = path.read_bytes()
    printed = terminal.done("--messages", "200").out
    assert path.read_bytes() == before
    assert [entry.name for entry in terminal.folder.iterdir()] == ["heloise.db"]
    assert "on SQLite" in printed
    for name in ("fsyncs", "commits", "accepted", "delivered"):
        assert f"\n{name}" in printed


def test_what_was_made_is_removed_when_it_is_stopped(terminal: Terminal) -> None:
    """By SIGTERM in the middle of the work."""
    process = terminal.start("--messages", "1000000")
    assert process.stderr is not None
    while not list(terminal.folder.glob(".heloise_bench-*/heloise.db")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 1
    assert list(terminal.folder.iterdir()) == []


def test_a_folder_that_is_missing_is_told(terminal: Terminal) -> None:
    """As by every command that opens the database."""
    result = terminal.run(DATABASE_URL="sqlite:///no/such/folder/heloise.db")
    assert result.code == 2
    assert "no/such/folder" in result.err


@pytest.mark.postgresql
def test_a_user_who_may_not_create_databases_is_told_what_to_do(
    terminal: Terminal, postgresql: Server
) -> None:
    """And nothing is measured in the database that is in use."""
    url = postgresql.empty()
    asyncio.run(rows(url, "CREATE ROLE humble LOGIN PASSWORD 'canary'"))
    humble = make_url(url).set(username="humble", password="canary")
    result = terminal.run(DATABASE_URL=humble.render_as_string(hide_password=False))
    assert result.code == 2
    assert "CREATEDB" in result.err
    assert "canary" not in terminal.printed


def test_a_server_that_is_away_is_told(terminal: Terminal, tmp_path: Path) -> None:
    """Without a trace."""
    del tmp_path
    result = terminal.run(DATABASE_URL="postgresql://u:canary@127.0.0.1:1/d")
    assert result.code == 2
    assert "PostgreSQL refuses" in result.err
    assert "canary" not in terminal.printed
