"""How many queued messages a second one worker delivers and settles."""

from contextlib import ExitStack
from functools import partial
from typing import Final

from benchmarks.cloning import clone_messages
from benchmarks.heloise import CONNECTIONS, Entry, enter_heloise
from benchmarks.rounds import Absent, Contestant, Entrants, Measure, Reading
from benchmarks.setting import Setting
from benchmarks.trial.sink import Counts, running_sink

NAME: Final = "drain"
BACKLOG: Final = "backlog"


def _enter(setting: Setting, stack: ExitStack) -> Entrants:
    port, counts = stack.enter_context(running_sink())
    for entry in enter_heloise(setting, stack, port, "--no-delivery"):
        if isinstance(entry, Absent):
            yield entry
        else:
            run = partial(accepted_and_drained, entry, counts, setting.size.drained)
            yield Contestant(entry.name, run)


def accepted_and_drained(entry: Entry, counts: Counts, messages: int) -> Reading:
    """Put this many into the queue, then start a worker: from its first connection to the end."""
    entry.served.accept(messages, connections=CONNECTIONS)
    return Reading(messages / entry.service.drain(entry.served, counts, messages))


def _enter_backlog(setting: Setting, stack: ExitStack) -> Entrants:
    port, counts = stack.enter_context(running_sink())
    for entry in enter_heloise(setting, stack, port, "--no-delivery"):
        if isinstance(entry, Absent):
            yield entry
        else:
            yield Contestant(entry.name, partial(_drain_backlog, entry, counts, setting))


def _drain_backlog(entry: Entry, counts: Counts, setting: Setting) -> Reading:
    """One message is accepted, and the others are copies of its rows."""
    messages = setting.size.backlog
    entry.served.accept(1, connections=1)
    clone_messages(entry.service.database_url, copies=messages - 1)
    return Reading(messages / entry.service.drain(entry.served, counts, messages))


DRAIN: Final = Measure(
    name=NAME, title="Drain: queued messages by one worker", enter=_enter, is_short=True
)
DRAIN_BACKLOG: Final = Measure(
    name=BACKLOG, title="Drain of a large backlog by one worker", enter=_enter_backlog, is_once=True
)
