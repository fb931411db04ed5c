"""`heloise dev` as a process, as a person starts it."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.trial.processes import held_port
from tests.support.processes.forked import Piped
from tests.support.terminal import Terminal


@dataclass
class Dev:
    """A running `heloise dev`: what it printed, and where it is."""

    process: subprocess.Popen[str] | Piped
    smtp_port: int
    submission_port: int
    url: str
    lines: list[str] = field(default_factory=list)

    def read_until(self, *texts: str) -> str:
        """Read what it prints up to a line that holds one of the texts, and answer that line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if any(text in line for text in texts):
                return line
        raise AssertionError(f"it ended without {texts}: {self.lines} {self.errors()}")

    def errors(self) -> str:
        """All that it wrote to stderr, once it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def printed(self, name: str) -> str:
        """What stands beside a name in what it printed first."""
        return next(line.split()[-1] for line in self.lines if line.strip().startswith(name))

    @property
    def first_request(self) -> str:
        return next(line for line in self.lines if line.startswith("curl "))

    def sourced(self) -> dict[str, str]:
        """The variables that a shell has once the printed line was pasted into it."""
        line = next(line for line in self.lines if line.startswith(". "))
        result = subprocess.run(  # noqa: S603 - the line that we printed
            ["env", "-i", "sh", "-euc", f"{line}env"],  # noqa: S607 - as any shell would
            capture_output=True,
            text=True,
            check=True,
        )
        return dict(variable.split("=", 1) for variable in result.stdout.splitlines())

    def http(self) -> httpx.Client:
        """A client with the printed key."""
        bearer = {"Authorization": f"Bearer {self.printed('key')}"}
        return httpx.Client(base_url=self.url, headers=bearer, timeout=60)

    def mails(self) -> list[dict[str, Any]]:
        """What the inbox lists."""
        with self.http() as http:
            items: list[dict[str, Any]] = http.get("/inbox").json()["items"]
        return items

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop, and answer how it ended."""
        self.process.send_signal(number)
        self.process.communicate()
        return self.process.returncode


@contextmanager
def developing(terminal: Terminal, *words: str, **variables: str) -> Iterator[Dev]:
    """Start it in the terminal's folder on unused ports; it is ready when the block begins."""
    with held_port() as port, held_port() as smtp_port, held_port() as submission_port:
        options = {"--port": port, "--smtp-port": smtp_port, "--submission-port": submission_port}
        arguments = [word for name, value in options.items() for word in (name, str(value))]
        process = terminal.start("dev", *arguments, *words, **variables)
        dev = Dev(process, smtp_port, submission_port, f"http://127.0.0.1:{port}")
        try:
            dev.read_until("password ", "No profile ")  # the last of what it prints at its start
            yield dev
        finally:
            if process.poll() is None:
                dev.stop()
