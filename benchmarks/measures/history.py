"""Whether accept, drain and lists cost the same however many messages were sent before."""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from http.client import HTTPConnection
from typing import Final
from urllib.parse import urlencode, urlsplit

from benchmarks.cloning import clone_messages, tidy
from benchmarks.heloise import (
    CONNECTIONS,
    NO_POSTGRESQL,
    POSTGRESQL,
    SQLITE,
    WARM_UP,
    Entry,
    enter,
    warm_up,
)
from benchmarks.rounds import Absent, Contestant, Entrants, Measure, Reading
from benchmarks.setting import Setting
from benchmarks.trial.load import put_load, request
from benchmarks.trial.service import NAME as TENANT
from benchmarks.trial.sink import Counts, running_sink

NAME: Final = "history"
LISTS: Final = 200
PAGES: Final = 50
LIST: Final = "/messages?status=sent&limit=50"
PAGE: Final = f"/console/t/{TENANT}/messages"
# A file of ten million is beyond what SQLite is chosen for, and takes as much room again.
MOST_ON_SQLITE: Final = 1_000_000


def name_of(kind: str, old: int) -> str:
    """The contestant: Heloise on a kind of database, after so many messages."""
    return f"{kind}, after {old:,}"


def _enter(setting: Setting, stack: ExitStack) -> Entrants:
    port, counts = stack.enter_context(running_sink())
    for old in setting.size.histories:
        name = name_of(SQLITE, old)
        if old > MOST_ON_SQLITE:
            yield Absent(name, f"SQLite is measured after {MOST_ON_SQLITE:,} at the most")
        else:
            yield _on(setting, stack, port, counts, name, setting.new_sqlite(), old)
        name = name_of(POSTGRESQL, old)
        if setting.new_postgresql is None:
            yield Absent(name, NO_POSTGRESQL)
        else:
            yield _on(setting, stack, port, counts, name, setting.new_postgresql(), old)


def _on(
    setting: Setting,
    stack: ExitStack,
    port: int,
    counts: Counts,
    name: str,
    url: str,
    old: int,
) -> Contestant:
    """A service whose history are copies of a message that it has delivered."""
    entry = enter(setting, stack, port, url, "--no-delivery", name=name)
    entry.served.accept(1, connections=1)
    entry.service.drain(entry.served, counts, 1)
    clone_messages(url, copies=old - 1)
    tidy(url)
    warm_up(entry)
    entry.service.drain(entry.served, counts, WARM_UP)
    return Contestant(name, partial(_run, entry, counts, setting.size.accepted))


def _run(entry: Entry, counts: Counts, messages: int) -> Reading:
    load = entry.served.accept(messages, connections=CONNECTIONS)
    took_seconds = entry.service.drain(entry.served, counts, messages)
    details = {
        "drained_per_second": messages / took_seconds,
        "list_p50_ms": _p50_ms(entry, LIST, entry.served.headers, LISTS),
        "console_p50_ms": _p50_ms(entry, PAGE, {"Cookie": _sign_in(entry)}, PAGES),
    }
    return Reading(load.per_second, details)


def _p50_ms(entry: Entry, path: str, headers: Mapping[str, str], requests: int) -> float:
    url = f"{entry.served.url}{path}"
    get_request = request("GET", url, headers)
    load = asyncio.run(put_load(url, get_request, requests=requests, connections=1))
    if set(load.statuses) != {200}:
        raise RuntimeError(f"GET {path} answered {dict(load.statuses)}")
    return load.latency_ms(50)


def _sign_in(entry: Entry) -> str:
    """Return the cookie of a new session of the console."""
    connection = HTTPConnection(urlsplit(entry.served.url).netloc)
    try:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode({"key": entry.served.key})
        connection.request("POST", "/console/sign-in", body, form)
        return connection.getresponse().headers["Set-Cookie"].partition(";")[0]
    finally:
        connection.close()


MEASURE: Final = Measure(
    name=NAME,
    title="With history: accept, drain, list of what was sent, the console's list",
    enter=_enter,
)
