"""Where the contestants meet: a folder, databases, and how much each of them is given to do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many messages a round has, by measure, and how long things are watched."""

    rounds: int
    accepted: int
    accepting_seconds: int
    sent: int
    drained: int
    backlog: int
    ended: int
    idle_latencies: int
    idle_seconds: float
    histories: tuple[int, ...]
    profiles: int
    tenants: int
    queued: int
    large: int
    round_trips: tuple[tuple[int, int], ...]  # milliseconds, messages


FULL: Final = Size(
    rounds=5,
    accepted=3000,
    accepting_seconds=2,
    sent=10_000,
    drained=5000,
    backlog=100_000,
    ended=3000,
    idle_latencies=60,
    idle_seconds=20,
    histories=(10, 10_000, 1_000_000),
    profiles=10_000,
    tenants=2_000,
    queued=1_000_000,
    large=20,
    round_trips=((1, 4000), (20, 800), (80, 200)),
)
QUICK: Final = Size(
    rounds=3,
    accepted=500,
    accepting_seconds=1,
    sent=2500,
    drained=500,
    backlog=2000,
    ended=300,
    idle_latencies=12,
    idle_seconds=2,
    histories=(10, 2000),
    profiles=200,
    tenants=40,
    queued=5000,
    large=2,
    round_trips=((20, 120),),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a measure is given. `new_postgresql` makes an empty database; None: there is none."""

    folder: Path
    size: Size
    new_postgresql: Callable[[], str] | None

    @property
    def rounds(self) -> int:
        """How many rounds the contestants have."""
        return self.size.rounds

    def new_sqlite(self) -> str:
        """The URL of a database that is not there yet."""
        number = len(list(self.folder.glob("database-*")))
        place = self.folder / f"database-{number}"
        place.mkdir()
        return f"sqlite:///{place}/heloise.db"
