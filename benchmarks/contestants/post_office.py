"""django-post-office: one process queues, another sends; in an environment of its own by pip."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.rounds import Reading
from benchmarks.trial.message import BODY, RECIPIENT, SENDER
from benchmarks.trial.processes import clean_environment

NAME: Final = "django-post-office, {}"
FOLDER: Final = Path(__file__).parents[2] / "build" / "bench-venv"
PYTHON: Final = FOLDER / "bin" / "python"
SCRIPT: Final = Path(__file__).with_name("post_office_script.py")
PACKAGES: Final = ("django-post-office", "psycopg[binary]")
INSTALL_SECONDS: Final = 300


def missing() -> str | None:
    """Why it cannot be run here, or None; installs it the first time."""
    if _has_it():
        return None
    install = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", *PACKAGES]
    try:
        for words in ([sys.executable, "-m", "venv", str(FOLDER)], install):
            subprocess.run(words, check=True, capture_output=True, timeout=INSTALL_SECONDS)  # noqa: S603 - our own words
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return "pip cannot install django-post-office"
    return None


def _has_it() -> bool:
    words = [str(PYTHON), "-c", "import post_office, psycopg"]
    return (
        PYTHON.exists() and subprocess.run(words, check=False, capture_output=True).returncode == 0  # noqa: S603 - as above
    )


def migrate(url: str) -> None:
    """Make its tables in a new database."""
    subprocess.run(_words("migrate", url, 0, 0), check=True, env=clean_environment())  # noqa: S603 - as above


def end_to_end(url: str, port: int, messages: int) -> Reading:
    """Queue this many and send them; from the first to the last that is settled."""
    with ExitStack() as stack:
        queue = stack.enter_context(_ready(_words("queue", url, port, messages)))
        send = stack.enter_context(_ready(_words("send", url, port, messages)))
        started_at = time.monotonic()
        for process in (queue, send):
            process.stdin.write("go\n")
            process.stdin.flush()
        if queue.wait() or send.wait():
            raise RuntimeError("django-post-office failed")
        return Reading(messages / (time.monotonic() - started_at))


@contextmanager
def _ready(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(  # noqa: S603 - as above
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    with process:
        try:
            process.stdin.write(json.dumps(BODY) + "\n")
            process.stdin.flush()
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("django-post-office did not start")
            yield process
        finally:
            process.kill()  # it has ended by itself where all went well


def _words(role: str, url: str, port: int, messages: int) -> list[str]:
    # -P: what lies beside the script is not for it.
    return [str(PYTHON), "-P", str(SCRIPT), role, url, str(port), str(messages), SENDER, RECIPIENT]
