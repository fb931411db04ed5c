"""Terminals: without anything, as processes, and an operator's with a database."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes.forked import Forker
from tests.support.terminal import NearTerminal, Terminal


@pytest.fixture
def terminal(tmp_path: Path, forking: Forker) -> Terminal:
    """A terminal without any setting."""
    return NearTerminal(tmp_path, forker=forking)


@pytest.fixture
def process_terminal(tmp_path: Path) -> Terminal:
    """A terminal without any setting, in which each command is a process."""
    return Terminal(tmp_path)


@pytest.fixture
def operator(tmp_path: Path, migrated_url: str, forking: Forker) -> Terminal:
    """A terminal with a migrated database, on SQLite and on PostgreSQL, and a secret key."""
    terminal = NearTerminal(tmp_path, forker=forking)
    terminal.environment["HELOISE_DATABASE_URL"] = migrated_url
    terminal.environment["HELOISE_SECRET_KEYS"] = terminal.done("secret-key").out.strip()
    return terminal


@pytest.fixture
def profile_file(tmp_path: Path) -> Callable[..., str]:
    """Writes a profile's body to a file, and returns its path."""

    def write(name: str = "transactional", **fields: object) -> str:
        body = {"name": name, "host": "smtp.example.com", "ehlo_name": "mail.example.com"} | fields
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(body))
        return str(path)

    return write
