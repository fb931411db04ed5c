"""What users build without Heloise: FastAPI and a task queue, in an environment of its own by pip.

procrastinate queues in PostgreSQL; arq, saq and Celery queue in a Redis that writes its journal to
the disk before it answers, as Heloise's databases do.
"""

import asyncio
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.heloise import CONNECTIONS, NO_POSTGRESQL
from benchmarks.rounds import Absent, Contestant, Entrants, Reading
from benchmarks.setting import Setting
from benchmarks.trial.load import put_load, request
from benchmarks.trial.message import CONTENT
from benchmarks.trial.processes import (
    POLL_SECONDS,
    clean_environment,
    unused_port,
    wait_until_answers,
    wait_until_listening,
)
from benchmarks.trial.sink import Counts

NAME: Final = "FastAPI and {}"
# Each has an environment of its own: they need different versions of the client of Redis.
PACKAGES: Final[dict[str, tuple[str, ...]]] = {
    "procrastinate": ("procrastinate", "psycopg[binary]"),
    "arq": ("arq",),
    "saq": ("saq[redis]",),
    "Celery": ("celery[redis]",),
}
COMMON_PACKAGES: Final = ("fastapi", "uvicorn[standard]", "email-validator", "aiosmtplib")
FOLDER: Final = Path(__file__).parents[2] / "build" / "task-queues"
SCRIPT: Final = Path(__file__).with_name("task_queue_script.py")
REDIS: Final = Path("/usr/bin/redis-server")
INSTALL_SECONDS: Final = 300
WITHIN_SECONDS: Final = 600.0
ACCEPTED: Final = 202


def enter(setting: Setting, stack: ExitStack, smtp_port: int, counts: Counts) -> Entrants:
    """Start an API and a worker with each task queue."""
    for kind in PACKAGES:
        name = NAME.format(kind)
        if reason := _find_obstacle(setting, kind):
            yield Absent(name, reason)
            continue
        url = stack.enter_context(_store(setting, kind))
        _run(setting, kind, "prepare", url, 0, smtp_port).wait(INSTALL_SECONDS)
        yield _enter(setting, stack, kind, url, smtp_port, counts)


def _find_obstacle(setting: Setting, kind: str) -> str | None:
    """Why it cannot be run here, or None; installs its packages the first time."""
    if kind == "procrastinate" and setting.new_postgresql is None:
        return NO_POSTGRESQL
    if kind != "procrastinate" and not REDIS.exists():
        return f"not installed: {REDIS}"
    if _is_installed(kind):
        return None
    packages = (*COMMON_PACKAGES, *PACKAGES[kind])
    pip = (_python(kind), "-m", "pip", "--disable-pip-version-check", "install", *packages)
    try:
        for words in ((sys.executable, "-m", "venv", str(FOLDER / kind)), pip):
            subprocess.run(words, check=True, capture_output=True, timeout=INSTALL_SECONDS)  # noqa: S603 - our own words
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return f"pip cannot install {kind}"
    return None


def _python(kind: str) -> str:
    return str(FOLDER / kind / "bin" / "python")


def _is_installed(kind: str) -> bool:
    words = (_python(kind), "-c", f"import fastapi, uvicorn, aiosmtplib, {kind.lower()}")
    if not Path(words[0]).exists():
        return False
    return subprocess.run(words, check=False, capture_output=True).returncode == 0  # noqa: S603 - as above


@contextmanager
def _store(setting: Setting, kind: str) -> Iterator[str]:
    """The URL of a new PostgreSQL database, or of a Redis as durable as one."""
    if kind == "procrastinate":
        assert setting.new_postgresql is not None  # noqa: S101 - see _find_obstacle
        yield setting.new_postgresql()
        return
    port, folder = unused_port(), setting.folder / f"redis-{kind}"
    folder.mkdir()
    options = {
        "--bind": "127.0.0.1",
        "--port": str(port),
        "--dir": str(folder),
        "--save": "",
        "--appendonly": "yes",
        "--appendfsync": "always",
    }
    words = [str(REDIS), *(word for option in options.items() for word in option)]
    with _process(words, folder / "log"):
        wait_until_listening(port)
        yield f"redis://127.0.0.1:{port}/0"


def _enter(
    setting: Setting, stack: ExitStack, kind: str, url: str, smtp_port: int, counts: Counts
) -> Contestant:
    port = unused_port()
    api = stack.enter_context(_running(setting, kind, "api", url, port, smtp_port))
    wait_until_answers(f"http://127.0.0.1:{port}/healthz", api)
    stack.enter_context(_running(setting, kind, "worker", url, port, smtp_port))
    post = request("POST", f"http://127.0.0.1:{port}/messages", {}, CONTENT)

    def run(messages: int = setting.size.ended) -> Reading:
        counts.reset()
        load = asyncio.run(
            put_load(
                f"http://127.0.0.1:{port}/messages",
                post,
                requests=messages,
                connections=CONNECTIONS,
            )
        )
        if set(load.statuses) != {ACCEPTED}:
            raise RuntimeError(f"{NAME.format(kind)} answered {dict(load.statuses)}")
        deadline = time.monotonic() + WITHIN_SECONDS
        while counts.messages < messages:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{counts.messages} of {messages} messages arrived")
            time.sleep(POLL_SECONDS)
        return Reading(messages / (counts.last_at_seconds - load.started_at_seconds))

    run(CONNECTIONS)  # the first ones find it cold
    return Contestant(NAME.format(kind), run)


@contextmanager
def _running(
    setting: Setting, kind: str, role: str, url: str, port: int, smtp_port: int
) -> Iterator[subprocess.Popen[bytes]]:
    process = _run(setting, kind, role, url, port, smtp_port)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(INSTALL_SECONDS)


def _run(
    setting: Setting, kind: str, role: str, url: str, port: int, smtp_port: int
) -> subprocess.Popen[bytes]:
    # -P: what lies beside the script is not for it.
    words = [_python(kind), "-P", str(SCRIPT), kind, role, url, str(port), str(smtp_port)]
    with (setting.folder / f"{role}-{secrets.token_hex(4)}.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own words
            words,
            stdout=log,
            stderr=log,
            env=clean_environment(),
            cwd=setting.folder,
        )


@contextmanager
def _process(words: list[str], log: Path) -> Iterator[None]:
    with (
        log.open("wb") as file,
        subprocess.Popen(words, stdout=file, stderr=file) as process,  # noqa: S603 - as above
    ):
        try:
            yield
        finally:
            process.terminate()
