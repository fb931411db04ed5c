"""The command line as a whole: help, version, exit codes, and no waiting for imports."""

import subprocess
import sys

import pytest

from app import __version__
from app.cli import COMMANDS, heloise, load_command
from tests.support.terminal import ROOT, Terminal

HEAVY = {"sqlalchemy", "fastapi", "pydantic", "asyncpg", "cryptography", "uvicorn"}


def test_help_lists_every_command(process_terminal: Terminal) -> None:
    """Each with its summary."""
    out = process_terminal.done("--help").out
    for name, (_, summary) in COMMANDS.items():
        assert name in out
        assert summary in out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_is_what_the_command_says_of_itself(name: str) -> None:
    """It stands twice, so that help need not import every command."""
    text = load_command(name).help or ""
    assert text.splitlines()[0] == COMMANDS[name][1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, terminal: Terminal) -> None:
    """It shows how the command is called."""
    assert f"heloise {name}" in terminal.done(name, "--help").out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("heloise pro", "profile"),
        ("heloise profile ver", "verify"),
        ("heloise tenant cre", "create"),
        ("heloise serve --no-d", "--no-delivery"),
        ("heloise --ver", "--version"),
    ],
)
def test_a_shell_completes_commands_and_options(
    words: str,
    offered: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As bash asks, by variables; those of a command that is not imported yet, too."""
    monkeypatch.setenv("_HELOISE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit):
        heloise(prog_name="heloise")
    assert capsys.readouterr().out.split() == [offered]


@pytest.mark.parametrize("name", COMMANDS)
def test_completion_is_offered_by_the_program_alone(name: str) -> None:
    """What a command would install completes nothing."""
    words = [option for param in load_command(name).params for option in param.opts]
    assert "--install-completion" not in words
    assert {"--install-completion", "--show-completion", "--version"} <= {
        option for param in heloise.params for option in param.opts
    }


def test_the_version_is_an_option_too(capsys: pytest.CaptureFixture[str]) -> None:
    """As of most programs."""
    with pytest.raises(SystemExit) as excinfo:
        heloise(["--version"], prog_name="heloise")
    assert not excinfo.value.code
    assert capsys.readouterr().out == f"{__version__}\n"


def test_the_version_is_the_packages(process_terminal: Terminal) -> None:
    """One line, for scripts."""
    assert process_terminal.done("version").out == f"{__version__}\n"


def test_a_mistyped_command_exits_2_and_is_told_what_was_meant(terminal: Terminal) -> None:
    """As an unknown option would be."""
    result = terminal.run("tennant")
    assert result.code == 2
    assert "'tenant'" in result.err


def test_the_command_line_imports_nothing_heavy() -> None:
    """`heloise --help` is there at once: each command brings its own imports."""
    script = "import sys, app.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    result = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(result.stdout.split())


def test_a_new_key_fits_both_settings(terminal: Terminal) -> None:
    """It seals credentials, and is long enough to be the admin key."""
    key = terminal.done("secret-key").out.strip()
    other = terminal.done("secret-key").out.strip()
    assert key != other
    result = terminal.done("settings", "--json", SECRET_KEYS=f"{key},{other}", ADMIN_KEY=key)
    assert key not in result.out


def test_a_database_that_cannot_be_reached_is_told_with_the_reason(terminal: Terminal) -> None:
    """And what to do at a command line, which sends no requests."""
    result = terminal.run("tenant", "list", DATABASE_URL="postgresql://heloise@127.0.0.1:1/heloise")
    assert result.code == 1
    assert result.err.startswith("error: The database is not available: ")
    assert "Connect call failed" in result.err
    assert result.err.endswith("Run the command again.\n")
