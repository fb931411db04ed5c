"""What a service costs that has nothing to do: memory, processor, queries."""

import time
from contextlib import ExitStack
from functools import partial
from typing import Final

from sqlalchemy import make_url

from app.store.db.url import sqlite_path
from benchmarks.databases import execute
from benchmarks.heloise import Entry, enter_heloise, warm_up
from benchmarks.machine import cpu_seconds, memory_mb
from benchmarks.rounds import Absent, Contestant, Entrants, Measure, Reading
from benchmarks.setting import Setting
from benchmarks.trial.sink import running_sink

NAME: Final = "idle"
SETTLE_SECONDS: Final = 2.0
COMMITS: Final = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{}'"


def _enter(setting: Setting, stack: ExitStack) -> Entrants:
    port, _ = stack.enter_context(running_sink())
    for entry in enter_heloise(setting, stack, port):
        if isinstance(entry, Absent):
            yield entry
        else:
            warm_up(entry)
            yield Contestant(entry.name, partial(_run, entry, setting.size.idle_seconds))


def _run(entry: Entry, seconds: float) -> Reading:
    while entry.served.unfinished():
        time.sleep(SETTLE_SECONDS)
    time.sleep(SETTLE_SECONDS)
    pid, url = entry.served.process.pid, entry.service.database_url
    cpu_before, transactions_before = cpu_seconds(pid), _transactions(url)
    time.sleep(seconds)
    cpu, transactions = cpu_seconds(pid) - cpu_before, _transactions(url) - transactions_before
    details = {"cpu_percent": cpu / seconds * 100}
    if sqlite_path(url) is None:
        details["transactions_per_second"] = transactions / seconds
    return Reading(memory_mb(pid), details)


def _transactions(url: str) -> int:
    """How many a PostgreSQL database has seen, asked for in another database."""
    if sqlite_path(url) is not None:
        return 0
    parsed = make_url(url)
    other = parsed.set(database="postgres").render_as_string(hide_password=False)
    return int(execute(other, COMMITS.format(parsed.database)))


MEASURE: Final = Measure(
    name=NAME,
    title="Idle service: memory in use",
    unit="MB",
    enter=_enter,
    is_once=True,
)
