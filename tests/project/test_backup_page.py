"""The page about backups: each of its commands runs, and what it restores is held."""

import json
import os
from pathlib import Path

import pytest

from tests.project.shell_blocks import blocks, shell
from tests.support.database.postgresql import Server, binaries
from tests.support.terminal import ROOT, NearTerminal, Terminal

PAGE = (ROOT / "docs/operations/backup.md").read_text()
BLOCKS = [block for block in blocks(PAGE) if block.language == "sh"]
SQLITE = [block.text for block in BLOCKS if "pg_" not in block.text]
POSTGRESQL = [block.text for block in BLOCKS if "pg_" in block.text]
BODY = {"name": "main", "host": "smtp.example.com", "default_from": "billing@example.com"}


def restored_statuses(folder: Path, commands: list[str], **variables: str) -> list[str]:
    """The statuses of a message that waited at the backup, and was cancelled after it."""
    backup, restore = commands
    terminal = NearTerminal(folder)
    terminal.environment |= variables
    terminal.environment["HELOISE_SECRET_KEYS"] = terminal.done("secret-key").out.strip()
    terminal.done("migrate")
    terminal.done("tenant", "create", "acme")
    (folder / "profile.json").write_text(json.dumps(BODY))
    terminal.done("profile", "create", "profile.json", "-t", "acme")
    sent = terminal.run("send", "ann@example.org", "-t", "acme", "--wait", "0", "--json").json
    shell(backup, terminal)
    terminal.done("message", "cancel", sent["message"]["id"], "-t", "acme", "--yes")
    shell(restore, terminal)
    messages = terminal.done("message", "list", "-t", "acme", "--json").json
    return [message["status"] for message in messages]


@pytest.mark.slow
def test_what_is_restored_on_sqlite_is_held(tmp_path: Path) -> None:
    """The commands run as they stand on the page, in the folder of the database."""
    assert restored_statuses(tmp_path, SQLITE) == ["held"]
    assert Terminal(tmp_path).done("backup", "tuesday.db")


@pytest.mark.slow
@pytest.mark.postgresql
def test_what_is_restored_on_postgresql_is_held(
    tmp_path: Path, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the tools of the server."""
    monkeypatch.setenv("PATH", f"{binaries()}:{os.environ['PATH']}")
    url = postgresql.empty()
    assert restored_statuses(tmp_path, POSTGRESQL, HELOISE_DATABASE_URL=url) == ["held"]
