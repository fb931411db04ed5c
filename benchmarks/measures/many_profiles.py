"""One message due for each of very many profiles at once, in many tenants."""

from contextlib import ExitStack
from functools import partial
from typing import Final

from benchmarks.cloning import clone_profiles, tidy
from benchmarks.heloise import Entry, enter_heloise
from benchmarks.rounds import Absent, Contestant, Entrants, Measure, Reading
from benchmarks.setting import Setting
from benchmarks.trial.sink import Counts, running_sink

NAME: Final = "many_profiles"


def _enter(setting: Setting, stack: ExitStack) -> Entrants:
    port, counts = stack.enter_context(running_sink())
    for entry in enter_heloise(setting, stack, port, "--no-delivery"):
        if isinstance(entry, Absent):
            yield entry
            continue
        yield Contestant(entry.name, partial(_run, entry, counts, setting))


def _run(entry: Entry, counts: Counts, setting: Setting) -> Reading:
    """Each profile has a connection of its own, so each message costs opening one too."""
    count = setting.size.profiles
    entry.served.accept(1, connections=1)
    clone_profiles(entry.service.database_url, count=count, tenants_count=setting.size.tenants)
    tidy(entry.service.database_url)
    took_seconds = entry.service.drain(entry.served, counts, count + 1)
    return Reading((count + 1) / took_seconds, {"drain_seconds": took_seconds})


MEASURE: Final = Measure(
    name=NAME, title="One message due for each of many profiles", enter=_enter, is_once=True
)
