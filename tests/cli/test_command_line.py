"""The command line as a whole: help, version, exit codes, and no waiting for imports."""

import subprocess
import sys
from importlib import import_module

import pytest
from typer.main import get_command

from app import __version__
from app.cli import COMMANDS
from tests.cli.terminal import ROOT, Terminal

HEAVY = {"sqlalchemy", "fastapi", "pydantic", "asyncpg", "cryptography", "uvicorn"}


def test_help_lists_every_command(terminal: Terminal) -> None:
    """Each with its summary."""
    out = terminal.done("--help").out
    for name, (_, summary) in COMMANDS.items():
        assert name in out
        assert summary in out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_is_what_the_command_says_of_itself(name: str) -> None:
    """It stands twice, so that help need not import every command."""
    module, summary = COMMANDS[name]
    text = get_command(import_module(module).app).help or ""
    assert text.splitlines()[0] == summary


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, terminal: Terminal) -> None:
    """And each can be imported on its own."""
    assert f"heloise {name}" in terminal.done(name, "--help").out


def test_the_version_is_the_packages(terminal: Terminal) -> None:
    """One line, for scripts."""
    assert terminal.done("version").out == f"{__version__}\n"


def test_a_mistyped_command_exits_2_and_is_told_what_was_meant(terminal: Terminal) -> None:
    """As an unknown option would be."""
    ended = terminal.run("tennant")
    assert ended.code == 2
    assert "'tenant'" in ended.err


def test_the_command_line_imports_nothing_heavy() -> None:
    """`heloise --help` is there at once: each command brings its own imports."""
    script = "import sys, app.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(done.stdout.split())


def test_a_new_key_fits_both_settings(terminal: Terminal) -> None:
    """It seals credentials, and is long enough to be the admin key."""
    key = terminal.done("secret-key").out.strip()
    other = terminal.done("secret-key").out.strip()
    assert key != other
    shown = terminal.done("settings", "--json", SECRET_KEYS=f"{key},{other}", ADMIN_KEY=key)
    assert key not in shown.out
