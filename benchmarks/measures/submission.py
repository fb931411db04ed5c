"""SMTP submission: how many messages a second are accepted, and what one of 25 MB costs.

Both servers ask for a login and offer no TLS, both keep what they accept and deliver nothing, and
their queues are on one file system. The client logs in before the time begins.
"""

import asyncio
import os
import smtplib
import time
from base64 import encodebytes
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Final

from app.store.db.url import sqlite_path
from benchmarks.contestants import postfix
from benchmarks.databases import postmaster_pid
from benchmarks.heloise import POSTGRESQL, SQLITE, database_urls, enter
from benchmarks.heloise import Entry as Heloise
from benchmarks.machine import clear_peak, family_cpu_seconds, memory_mb
from benchmarks.measures.smtp_engine import content
from benchmarks.rounds import Absent, Contestant, Entrants, Measure, Reading
from benchmarks.setting import Setting
from benchmarks.trial.load import Load
from benchmarks.trial.processes import unused_port
from benchmarks.trial.service import Served
from benchmarks.trial.submit import Server, submit_load
from benchmarks.watching import watching
from tests.support.servers.postfix import missing

NAME: Final = "submission"
LARGE: Final = "submission_large"
TWO_PROCESSES: Final = f"{POSTGRESQL}, two processes"
POSTS: Final = {kind: f"{kind}, POST /messages" for kind in (SQLITE, POSTGRESQL)}
CONNECTIONS: Final = 20
LARGE_BYTES: Final = 25_000_000
BYTES_PER_MB: Final = 1024 * 1024
USER: Final = "heloise"
OK: Final = 250


@dataclass(frozen=True, slots=True)
class _Entry:
    """Heloise on one database: its API, its submission server, the process that runs that."""

    heloise: Heloise
    submission: Server
    pid: int
    database_pid: int | None


def _enter(setting: Setting, stack: ExitStack) -> Entrants:
    messages, small = setting.size.accepted, content()
    for entry in _enter_each(setting, stack):
        if isinstance(entry, Absent):
            yield entry
            continue
        name, served = entry.heloise.name, entry.heloise.served
        submit = partial(_submit, entry.submission, small)
        yield _contestant(name, submit, messages, entry.pid, entry.database_pid)
        if name == POSTGRESQL:
            port = unused_port()
            second = stack.enter_context(entry.heloise.service.submitting(port))
            both = replace(entry.submission, ports=(*entry.submission.ports, port))
            pids = (entry.pid, second.pid, entry.database_pid)
            yield _contestant(TWO_PROCESSES, partial(_submit, both, small), messages, *pids)
        pids = (served.process.pid, entry.database_pid)
        yield _contestant(POSTS[name], partial(_post, served), messages, *pids)
    if reason := missing():
        yield Absent(postfix.NAME, reason)
    else:
        server, pid = stack.enter_context(postfix.submitting())
        yield _contestant(postfix.NAME, partial(_submit, server, small), messages, pid)


def _enter_each(setting: Setting, stack: ExitStack) -> Iterator[_Entry | Absent]:
    """On SQLite `heloise serve` runs the submission server, on PostgreSQL `heloise submission`."""
    for database_url in database_urls(setting):
        if isinstance(database_url, Absent):
            yield database_url
            continue
        (name, url), port = database_url, unused_port()
        is_sqlite = sqlite_path(url) is not None
        heloise = enter(
            setting,
            stack,
            unused_port(),  # nothing is delivered
            url,
            "--no-delivery",
            name=name,
            SUBMISSION=str(is_sqlite),
            SUBMISSION_HOST="127.0.0.1",
            SUBMISSION_PORTS=str(port),
            SUBMISSION_ALLOW_PLAINTEXT_AUTH="true",
        )
        process = heloise.served.process
        if not is_sqlite:
            process = stack.enter_context(heloise.service.submitting(port))
        server = Server((port,), USER, heloise.service.key)
        yield _Entry(heloise, server, process.pid, None if is_sqlite else postmaster_pid(url))


def _submit(server: Server, content: bytes, messages: int) -> Load:
    load = submit_load(server, content, messages=messages, connections=CONNECTIONS)
    return asyncio.run(load)


def _post(served: Served, messages: int) -> Load:
    return served.accept(messages, connections=CONNECTIONS)


def _contestant(
    name: str, accept: Callable[[int], Load], messages: int, *pids: int | None
) -> Contestant:
    """Somebody who accepts messages with these processes and their children."""

    def cpu_seconds() -> float:
        return sum(family_cpu_seconds(pid) for pid in pids if pid is not None)

    def run() -> Reading:
        before = cpu_seconds()
        load = accept(messages)
        details = {
            "p50_ms": load.latency_ms(50),
            "p99_ms": load.latency_ms(99),
            "cpu_ms": (cpu_seconds() - before) / messages * 1000,
        }
        return Reading(load.per_second, details)

    accept(messages // 10 + CONNECTIONS)  # the first ones find it cold
    return Contestant(name, run)


def _enter_large(setting: Setting, stack: ExitStack) -> Entrants:
    message = large_message()
    for entry in _enter_each(setting, stack):
        if isinstance(entry, Absent):
            yield entry
        else:
            _submit(entry.submission, content(), CONNECTIONS)
            yield Contestant(entry.heloise.name, partial(_run_large, entry, message))


def large_message() -> bytes:
    """A message with a file, 25 MB in base64."""
    file = encodebytes(os.urandom(LARGE_BYTES * 3 // 4 * 76 // 78)).replace(b"\n", b"\r\n")
    head, _, _ = content().partition(b"Content-Type:")
    return (
        head + b"Content-Type: application/octet-stream\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + file
    )


def _run_large(entry: _Entry, message: bytes) -> Reading:
    before_mb = memory_mb(entry.pid)
    clear_peak(entry.pid)
    with watching(partial(_noop, entry.submission.ports[0])) as took_seconds:
        load = submit_load(entry.submission, message, messages=1, connections=1)
        duration_seconds = asyncio.run(load).duration_seconds
    peak_mb = memory_mb(entry.pid, peak=True) - before_mb
    with watching(partial(_noop, entry.submission.ports[0])) as took_seconds_idle:
        time.sleep(duration_seconds)
    details = {
        "stall_ms": max(took_seconds) * 1000,
        "idle_stall_ms": max(took_seconds_idle) * 1000,  # what the machine alone makes of it
        "seconds": duration_seconds,
    }
    return Reading(peak_mb / (len(message) / BYTES_PER_MB), details)


@cache
def _session(port: int) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", port)


def _noop(port: int) -> None:
    """Send NOOP over this process's one session."""
    code, text = _session(port).noop()
    if code != OK:
        raise ConnectionError(f"the server answered {code} {text!r}")


MEASURE: Final = Measure(
    name=NAME,
    title=f"Accept: SMTP submission, {CONNECTIONS} connections, 2 KB, durable",
    enter=_enter,
    is_short=True,
)
LARGE_MEASURE: Final = Measure(
    name=LARGE,
    title="A submission of 25 MB: memory a message",
    unit="times its size",
    enter=_enter_large,
)
