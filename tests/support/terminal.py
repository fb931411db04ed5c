"""The real console entry, in an empty folder and an environment without settings."""

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from app import cli
from tests.support.processes.forked import Forker, Piped

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class CommandResult:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal:
    """Where commands are typed: a folder, an environment, and all that was ever printed.

    Each is a process of its own, for claims about processes: signals, pipes, ports, and what they
    print while they run. Without a forker each costs the start of an interpreter and all imports.
    """

    def __init__(
        self, folder: Path, module: str = "app.cli", *, forker: Forker | None = None
    ) -> None:
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith("HELOISE_")
        }
        self.folder = folder
        self.module = module
        self.forker = forker
        self.environment = inherited | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
        self.printed = ""

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str] | Piped:
        """Start a command that goes on, with pipes to and from it."""
        environment = self.environment | {
            f"HELOISE_{name}": value for name, value in variables.items()
        }
        if self.forker is not None:
            return self.forker.start_piped(self.module, words, env=environment, cwd=self.folder)
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", self.module, *words],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, stdin: str = "", **variables: str) -> CommandResult:
        """Type a command, with `variables` set for it alone (`PORT` is HELOISE_PORT)."""
        process = self.start(*words, **variables)
        out, err = process.communicate(stdin)
        self.printed += out + err
        return CommandResult(process.returncode, out, err)

    def done(self, *words: str, stdin: str = "", **variables: str) -> CommandResult:
        """The same, for a command that has to succeed."""
        result = self.run(*words, stdin=stdin, **variables)
        assert result.code == 0, result
        return result


class NearTerminal(Terminal):
    """The same entry called within this process, which a command leaves as it was."""

    def run(self, *words: str, stdin: str = "", **variables: str) -> CommandResult:
        out, err = io.StringIO(), io.StringIO()
        settings = {f"HELOISE_{name}": value for name, value in variables.items()}
        on_sigterm = signal.getsignal(signal.SIGTERM)
        with (
            pytest.MonkeyPatch.context() as patch,
            mock.patch.dict(os.environ, self.environment | settings, clear=True),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["heloise", *words])
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            with pytest.raises(SystemExit) as excinfo:
                cli.run()
        signal.signal(signal.SIGTERM, on_sigterm)
        self.printed += out.getvalue() + err.getvalue()
        return CommandResult(int(excinfo.value.code or 0), out.getvalue(), err.getvalue())
