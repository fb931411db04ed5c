"""`python -m benchmarks.profile_accept`: where the time of `POST /messages` goes.

The service runs in this process under load from another one. Each millisecond the timer's signal
looks where the main thread is, and counts to that place the processor time that the thread has used
since it last looked. Native code counts to the Python line that called it: pydantic's validation to
FastAPI, the sockets to uvicorn. What other threads use is SQLite's.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
import uvloop

from app.main import from_environment
from benchmarks.databases import new_databases
from benchmarks.heloise import CONNECTIONS, database_urls
from benchmarks.markdown import PAGE, write_between_marks
from benchmarks.rounds import Absent
from benchmarks.setting import FULL, Setting
from benchmarks.trial.load import Load
from benchmarks.trial.processes import unused_port
from benchmarks.trial.service import TrialService, post_messages

COMMAND: Final = "python -m benchmarks.profile_accept"
LOOK_SECONDS: Final = 0.001
START_SECONDS: Final = 0.1
FUNCTIONS: Final = 12
US: Final = 1_000_000
OTHER_THREADS: Final = "other threads: SQLite's driver"
NOWHERE: Final = "none of these"
# A frame belongs to the first place whose path it has; those of none belong to their callers.
PLACES: Final = {
    "/app/api/": "Heloise: api",
    "/app/auth/": "Heloise: auth",
    "/app/accept/": "Heloise: accept",
    "/app/domain/": "Heloise: domain",
    "/app/store/": "Heloise: store",
    "/app/": "Heloise: the rest",
    "/email/": "email, the standard library's",
    "/email_validator/": "email-validator",
    "/idna/": "idna",
    "/pydantic": "pydantic",
    "/fastapi": "FastAPI, with pydantic's validation",
    "/starlette/": "Starlette",
    "/uvicorn/": "uvicorn, with uvloop, httptools and sockets",
    "/sqlalchemy/": "SQLAlchemy",
    "/aiosqlite/": "aiosqlite",
    "/asyncpg/": "asyncpg",
    "/logging/": "logging",
    "/asyncio/": "asyncio",
}


@dataclass
class Profile:
    """Processor seconds of the main thread, by place and by function, and of all threads."""

    places: Counter[str] = field(default_factory=Counter)
    functions: Counter[str] = field(default_factory=Counter)
    process_seconds: float = 0.0
    looked_at: float = 0.0

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look while the block runs, in the main thread."""
        before, self.looked_at = time.process_time(), time.thread_time()
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.process_seconds = time.process_time() - before

    def _look(self, _: int, frame: FrameType | None) -> None:
        now = time.thread_time()
        seconds, self.looked_at = now - self.looked_at, now
        while frame is not None:
            path = frame.f_code.co_filename
            for part, place in PLACES.items():
                if part in path:
                    self.places[place] += seconds
                    self.functions[f"{Path(path).stem}.{frame.f_code.co_qualname}"] += seconds
                    return
            frame = frame.f_back
        self.places[NOWHERE] += seconds


def main() -> None:
    """Print the tables of each database."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--docs", action="store_true", help="write the page of docs/, too")
    arguments = parser.parse_args()
    text = "\n".join(_page(arguments.messages)) + "\n"
    print(text, end="")
    if arguments.docs:
        write_between_marks(PAGE, text, by=COMMAND)


def _page(messages: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, new_databases(None) as new:
        with (Path(folder) / "log").open("wb") as log:
            os.dup2(log.fileno(), sys.stderr.fileno())  # the service's log lines are part of it
        setting = Setting(folder=Path(folder), size=FULL, new_postgresql=new)
        for database_url in database_urls(setting):
            if isinstance(database_url, Absent):
                yield f"{database_url.name}: {database_url.reason}"
            else:
                name, url = database_url
                profile, load = uvloop.run(_profile_load(setting, url, messages))
                yield from _lines(name, profile, load, messages)


async def _profile_load(setting: Setting, url: str, messages: int) -> tuple[Profile, Load]:
    service = TrialService(setting.folder, url)
    await asyncio.to_thread(service.prepare, smtp_port=unused_port())
    os.environ.update(service.environment | {"HELOISE_DELIVERY": "false"})
    port, loop = unused_port(), asyncio.get_running_loop()
    app = from_environment()
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, http="httptools", log_config=None, access_log=False)
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells it in no other way
        await asyncio.sleep(START_SECONDS)
    words = (f"http://127.0.0.1:{port}", service.key)
    profile = Profile()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        warm_up = partial(post_messages, *words, messages // 10, CONNECTIONS)
        await loop.run_in_executor(pool, warm_up)
        with profile.looking():
            run = partial(post_messages, *words, messages, CONNECTIONS)
            load = await loop.run_in_executor(pool, run)
    server.should_exit = True
    await serving
    return profile, load


def _lines(name: str, profile: Profile, load: Load, messages: int) -> Iterator[str]:
    main_seconds = sum(profile.places.values())
    places = profile.places + Counter({OTHER_THREADS: profile.process_seconds - main_seconds})
    whole_seconds = profile.process_seconds
    whole = f"{whole_seconds / messages * US:.0f} µs of processor a message"
    yield f"\n### {name}: {whole}, {load.per_second:.0f} a second\n"
    yield "| where | µs a message | share |"
    yield "|---|---:|---:|"
    for place, seconds in places.most_common():
        yield f"| {place} | {seconds / messages * US:.1f} | {seconds / whole_seconds:.0%} |"
    yield "\nThe functions that take most, with what native code they call:\n"
    yield "| function | µs a message |"
    yield "|---|---:|"
    for function, seconds in profile.functions.most_common(FUNCTIONS):
        yield f"| `{function}` | {seconds / messages * US:.1f} |"


if __name__ == "__main__":
    main()
