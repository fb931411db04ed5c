"""Heloise as a contestant: on SQLite and on PostgreSQL, its processes as an operator runs them."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks.rounds import Absent
from benchmarks.setting import Setting
from benchmarks.trial.message import CONTENT
from benchmarks.trial.service import Served, TrialService

SQLITE: Final = "Heloise, SQLite"
POSTGRESQL: Final = "Heloise, PostgreSQL"
TWO_PROCESSES: Final = "Heloise, PostgreSQL, --workers 2"
NO_POSTGRESQL: Final = "there is no PostgreSQL server, and --postgresql names none"
CONNECTIONS: Final = 32
WARM_UP: Final = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """Heloise on one database: its commands, and its API where that is served."""

    name: str
    service: TrialService
    served: Served


def database_urls(setting: Setting) -> Iterator[tuple[str, str] | Absent]:
    """The name of the contestant on each database, and a new database of that kind."""
    yield SQLITE, setting.new_sqlite()
    if setting.new_postgresql is None:
        yield Absent(POSTGRESQL, NO_POSTGRESQL)
    else:
        yield POSTGRESQL, setting.new_postgresql()


def enter_heloise(
    setting: Setting, stack: ExitStack, smtp_port: int, *words: str
) -> Iterator[Entry | Absent]:
    """Heloise served on each database, with these words after `heloise serve`."""
    for database_url in database_urls(setting):
        if isinstance(database_url, Absent):
            yield database_url
            continue
        name, url = database_url
        yield enter(setting, stack, smtp_port, url, *words, name=name)


def two_processes(
    setting: Setting, stack: ExitStack, smtp_port: int, *words: str
) -> Entry | Absent:
    """The same by two processes, which takes PostgreSQL."""
    if setting.new_postgresql is None:
        return Absent(TWO_PROCESSES, NO_POSTGRESQL)
    url, both = setting.new_postgresql(), ("--workers", "2")
    return enter(setting, stack, smtp_port, url, *words, *both, name=TWO_PROCESSES)


def enter(
    setting: Setting,
    stack: ExitStack,
    smtp_port: int,
    url: str,
    *words: str,
    name: str,
    **variables: str,
) -> Entry:
    """Heloise served on this database, which is a new one, with `variables` as settings."""
    service = TrialService(setting.folder, url, **variables)
    service.prepare(smtp_port=smtp_port)
    return Entry(name, service, stack.enter_context(service.serving(*words)))


def warm_up(entry: Entry, *, content: bytes = CONTENT) -> Entry:
    """The same, once it has accepted its first messages."""
    entry.served.accept(WARM_UP, connections=CONNECTIONS, content=content)
    return entry
