"""`heloise settings`, and the texts in the repository that it makes."""

from pathlib import Path

import pytest
from dotenv import dotenv_values

from app.cli.settings import render_env_file, render_markdown
from app.settings.model import Settings, variable_name
from app.settings.reading import format_default
from tests.support.terminal import ROOT, Terminal

CANARY = "canary-3f9c-in-the-coal-mine"


def test_every_setting_is_printed_with_value_and_source(terminal: Terminal) -> None:
    """As JSON for programs, as a table for people; both mask secrets."""
    (terminal.folder / ".env").write_text("HELOISE_HOST=0.0.0.0\n")
    environment = {"PORT": "9000", "ADMIN_KEY": CANARY * 2}
    entries = {
        entry["name"]: entry for entry in terminal.done("settings", "--json", **environment).json
    }
    assert list(entries) == [variable_name(field) for field in Settings.model_fields]
    assert entries["HELOISE_PORT"]["value"] == "9000"
    assert entries["HELOISE_PORT"]["source"] == "environment"
    assert entries["HELOISE_HOST"]["source"] == ".env"
    assert entries["HELOISE_LEASE_SECONDS"]["unit"] == "seconds"
    table = terminal.done("settings", **environment).out
    assert all(name in table for name in entries)
    assert CANARY not in terminal.printed


def test_a_wrong_setting_exits_2(terminal: Terminal) -> None:
    """Which one, what was found, what it should be; nothing on stdout."""
    result = terminal.run("settings", PORT="abc")
    assert (result.code, result.out) == (2, "")
    assert "HELOISE_PORT: found 'abc', should be a whole number from 1 to 65535" in result.err


@pytest.mark.parametrize("command", ["settings", "serve", "worker", "migrate", "reseal"])
@pytest.mark.parametrize("name", ["ADMIN_KEY", "SECRET_KEYS", "DATABASE_URL"])
def test_a_wrong_secret_is_never_printed(command: str, name: str, terminal: Terminal) -> None:
    """Invariant 9, in every command that reads the settings."""
    result = terminal.run(command, **{name: CANARY})
    assert result.code == 2
    assert f"HELOISE_{name}: found a value of {len(CANARY)} characters" in result.err
    assert CANARY not in terminal.printed


def test_a_variable_that_is_no_setting_is_warned_about(terminal: Terminal) -> None:
    """By name, with what was meant; the command goes on."""
    result = terminal.done("settings", "--json", PROT="9000")
    assert "HELOISE_PROT is not a setting of Heloise; did you mean HELOISE_PORT?" in result.err


@pytest.mark.parametrize(
    ("path", "text", "shape"),
    [
        (".env.example", render_env_file(), "env"),
        ("docs/reference/settings.md", render_markdown(), "markdown"),
    ],
)
def test_the_reference_in_the_repository_is_current(path: str, text: str, shape: str) -> None:
    """What is written there is what the code says."""
    command = f"heloise settings --format {shape} > {path}"
    assert (ROOT / path).read_text() == text, f"{path} is out of date. Run: {command}"


def test_the_reference_is_what_the_command_prints(terminal: Terminal) -> None:
    """So that the command in the message above mends it; it needs no valid setting."""
    assert terminal.done("settings", "--format", "env", PORT="abc").out == render_env_file()
    assert terminal.done("settings", "--format", "markdown", PORT="abc").out == render_markdown()


def test_the_example_switched_on_is_the_defaults(tmp_path: Path) -> None:
    """Every line of `.env.example` can be taken as it stands."""
    lines = [line.removeprefix("#") for line in render_env_file().splitlines() if "=" in line]
    (tmp_path / "env").write_text("\n".join(line for line in lines if line[0] == "H"))
    assert dotenv_values(tmp_path / "env") == {
        variable_name(field): format_default(field) for field in Settings.model_fields
    }
