"""How many messages a second `POST /messages` accepts, each durable before its answer."""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from benchmarks.contestants import naive_api
from benchmarks.heloise import (
    CONNECTIONS,
    NO_POSTGRESQL,
    Entry,
    enter_heloise,
    two_processes,
)
from benchmarks.rounds import Absent, Contestant, Entrants, Measure, Reading
from benchmarks.serving import serve_app
from benchmarks.setting import Setting
from benchmarks.trial import wrk
from benchmarks.trial.load import put_load, request
from benchmarks.trial.message import CONTENT
from benchmarks.trial.processes import unused_port

NAME: Final = "accept"
FLOOR: Final = "FastAPI and pydantic, no database"
NAIVE_SQLITE: Final = "FastAPI and async ORM, SQLite"
NAIVE_POSTGRESQL: Final = "FastAPI and async ORM, PostgreSQL"
PLAIN_API: Final = "benchmarks.contestants.plain_api:api"
NAIVE_API: Final = "benchmarks.contestants.naive_api:api"


def _enter(setting: Setting, stack: ExitStack) -> Entrants:
    yield _enter_app(FLOOR, setting, serve_app(setting, stack, PLAIN_API))
    nobody = unused_port()  # nothing is delivered
    for entry in enter_heloise(setting, stack, nobody, "--no-delivery"):
        yield entry if isinstance(entry, Absent) else _enter_entry(setting, entry)
    yield _enter_naive(NAIVE_SQLITE, setting, stack, setting.new_sqlite())
    two = two_processes(setting, stack, nobody, "--no-delivery")
    yield two if isinstance(two, Absent) else _enter_entry(setting, two)
    if setting.new_postgresql is None:
        yield Absent(NAIVE_POSTGRESQL, NO_POSTGRESQL)
        return
    yield _enter_naive(NAIVE_POSTGRESQL, setting, stack, setting.new_postgresql())


def _enter_entry(setting: Setting, entry: Entry) -> Contestant:
    return _enter_app(entry.name, setting, entry.served.url, entry.served.headers)


def _enter_naive(name: str, setting: Setting, stack: ExitStack, url: str) -> Contestant:
    served = serve_app(setting, stack, NAIVE_API, **{naive_api.VARIABLE: url})
    return _enter_app(name, setting, served)


def _enter_app(
    name: str, setting: Setting, url: str, headers: Mapping[str, str] | None = None
) -> Contestant:
    """Enter an API, whose first requests find it cold and do not count."""
    url, headers = f"{url}/messages", headers or {}
    seconds = setting.size.accepting_seconds

    def run_wrk() -> Reading:
        load = wrk.post(url, headers, CONTENT, connections=CONNECTIONS, seconds=seconds)
        details = {"p50_ms": load.p50_ms, "p99_ms": load.p99_ms}
        return Reading(load.per_second, details, messages=load.requests)

    def run(messages: int = setting.size.accepted) -> Reading:
        post = request("POST", url, headers, CONTENT)
        load = asyncio.run(put_load(url, post, requests=messages, connections=CONNECTIONS))
        if set(load.statuses) != {202}:
            raise RuntimeError(f"{name} answered {dict(load.statuses)}")
        details = {"p50_ms": load.latency_ms(50), "p99_ms": load.latency_ms(99)}
        return Reading(load.per_second, details)

    run(setting.size.accepted // 10 + CONNECTIONS)
    return Contestant(name, run if wrk.find_wrk() is None else run_wrk)


MEASURE: Final = Measure(
    name=NAME,
    title=f"Accept: POST /messages, {CONNECTIONS} connections, 2 KB, durable",
    enter=_enter,
    is_short=True,
    messages=lambda size: size.accepted,
)
