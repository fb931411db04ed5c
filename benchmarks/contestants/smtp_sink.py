"""Postfix's smtp-sink: a server in C that takes all mail and keeps none."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.trial.processes import unused_port, wait_until_listening

SMTP_SINK: Final = "/usr/sbin/smtp-sink"  # where Debian has it; PATH may lack it
BACKLOG: Final = "512"


def missing() -> str | None:
    """Why it cannot be run here, or None."""
    return None if Path(SMTP_SINK).exists() else f"not installed: {SMTP_SINK}"


@contextmanager
def running() -> Iterator[int]:
    """The port of loopback that it listens on while the block runs."""
    port = unused_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    words = [SMTP_SINK, "-4", *user, f"127.0.0.1:{port}", BACKLOG]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - our own words
        try:
            wait_until_listening(port)
            yield port
        finally:
            process.terminate()
