"""From the first request, under load, to the moment when the last one is delivered and settled."""

from contextlib import ExitStack
from functools import partial
from typing import Final

from benchmarks.contestants import post_office, postfix, task_queues
from benchmarks.heloise import CONNECTIONS, NO_POSTGRESQL, Entry, enter_heloise, two_processes
from benchmarks.measures.smtp_engine import content
from benchmarks.rounds import Absent, Contestant, Entrants, Measure, Reading
from benchmarks.setting import Setting
from benchmarks.trial.sink import Counts, running_sink
from tests.support.servers.postfix import missing

NAME: Final = "end_to_end"
POST_OFFICE_SQLITE: Final = post_office.NAME.format("SQLite")
POST_OFFICE_POSTGRESQL: Final = post_office.NAME.format("PostgreSQL")


def _enter(setting: Setting, stack: ExitStack) -> Entrants:
    messages = setting.size.ended
    port, counts = stack.enter_context(running_sink())
    for entry in (*enter_heloise(setting, stack, port), two_processes(setting, stack, port)):
        yield entry if isinstance(entry, Absent) else _heloise(entry, counts, messages)
    if reason := missing():
        yield Absent(postfix.NAME, reason)
    else:
        relay = stack.enter_context(postfix.relaying(port))
        run = partial(postfix.end_to_end, relay, counts, content(), messages)
        yield Contestant(postfix.NAME, run)
    yield from task_queues.enter(setting, stack, port, counts)
    yield from _post_offices(setting, port)


def _heloise(entry: Entry, counts: Counts, messages: int) -> Contestant:
    def run(count: int = messages) -> Reading:
        counts.reset()
        load = entry.served.accept(count, connections=CONNECTIONS)
        settled_at = entry.served.wait_settled(counts, count)
        return Reading(count / (settled_at - load.started_at_seconds))

    run(CONNECTIONS)  # the first ones find it cold
    return Contestant(entry.name, run)


def _post_offices(setting: Setting, port: int) -> Entrants:
    if reason := post_office.missing():
        yield Absent(POST_OFFICE_SQLITE, reason)
        yield Absent(POST_OFFICE_POSTGRESQL, reason)
        return
    yield _post_office(POST_OFFICE_SQLITE, setting.new_sqlite(), port, setting.size.ended)
    if setting.new_postgresql is None:
        yield Absent(POST_OFFICE_POSTGRESQL, NO_POSTGRESQL)
    else:
        url = setting.new_postgresql()
        yield _post_office(POST_OFFICE_POSTGRESQL, url, port, setting.size.ended)


def _post_office(name: str, url: str, port: int, messages: int) -> Contestant:
    post_office.migrate(url)
    return Contestant(name, lambda: post_office.end_to_end(url, port, messages))


MEASURE: Final = Measure(
    name=NAME,
    title="End to end: POST under load, delivered and settled",
    enter=_enter,
    messages=lambda size: size.ended,
)
