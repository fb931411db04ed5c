"""How many messages a second `POST /messages` accepts, each durable before its answer."""

import asyncio
from contextlib import ExitStack
from typing import Final

from benchmarks.contestants import naive_api
from benchmarks.heloise import (
    CONNECTIONS,
    NO_POSTGRESQL,
    Entry,
    enter_heloise,
    two_processes,
    warm_up,
)
from benchmarks.rounds import Absent, Contestant, Entrants, Measure, Reading
from benchmarks.serving import serve_app
from benchmarks.setting import Setting
from benchmarks.trial.load import Load, put_load, request
from benchmarks.trial.message import CONTENT
from benchmarks.trial.processes import unused_port

NAME: Final = "accept"
FLOOR: Final = "FastAPI and pydantic, no database"
NAIVE_SQLITE: Final = "FastAPI and async ORM, SQLite"
NAIVE_POSTGRESQL: Final = "FastAPI and async ORM, PostgreSQL"
PLAIN_API: Final = "benchmarks.contestants.plain_api:api"
NAIVE_API: Final = "benchmarks.contestants.naive_api:api"


def _enter(setting: Setting, stack: ExitStack) -> Entrants:
    messages = setting.size.accepted
    yield _app(FLOOR, serve_app(setting, stack, PLAIN_API), messages)
    nobody = unused_port()  # nothing is delivered
    for entry in enter_heloise(setting, stack, nobody, "--no-delivery"):
        yield entry if isinstance(entry, Absent) else _heloise(entry, messages)
    yield _naive(NAIVE_SQLITE, setting, stack, setting.new_sqlite())
    two = two_processes(setting, stack, nobody, "--no-delivery")
    yield two if isinstance(two, Absent) else _heloise(two, messages)
    if setting.new_postgresql is None:
        yield Absent(NAIVE_POSTGRESQL, NO_POSTGRESQL)
        return
    yield _naive(NAIVE_POSTGRESQL, setting, stack, setting.new_postgresql())


def _heloise(entry: Entry, messages: int) -> Contestant:
    warm_up(entry)
    return Contestant(
        entry.name,
        lambda: _reading(entry.served.accept(messages, connections=CONNECTIONS)),
    )


def _naive(name: str, setting: Setting, stack: ExitStack, url: str) -> Contestant:
    served = serve_app(setting, stack, NAIVE_API, **{naive_api.VARIABLE: url})
    return _app(name, served, setting.size.accepted)


def _app(name: str, url: str, messages: int) -> Contestant:
    post = request("POST", f"{url}/messages", {}, CONTENT)

    def run(requests: int = messages) -> Reading:
        load = asyncio.run(put_load(url, post, requests=requests, connections=CONNECTIONS))
        if set(load.statuses) != {202}:
            raise RuntimeError(f"{name} answered {dict(load.statuses)}")
        return _reading(load)

    run(messages // 10 + CONNECTIONS)  # the first ones find it cold
    return Contestant(name, run)


def _reading(load: Load) -> Reading:
    """How many a second, and how long they waited."""
    return Reading(load.per_second, {"p50_ms": load.latency_ms(50), "p99_ms": load.latency_ms(99)})


MEASURE: Final = Measure(
    name=NAME,
    title=f"Accept: POST /messages, {CONNECTIONS} connections, 2 KB, durable",
    enter=_enter,
    is_short=True,
    messages=lambda size: size.accepted,
)
