"""Share the counts of all processes of one `serve --workers N`, through files of a folder.

Whichever process answers `/metrics`, the answer counts for all of them. Each process owns a slot:
a lock, and a file with its counts, which it replaces every second and before each answer. Everybody
adds up the same files, and the numbers in a file only grow, so no counter ever falls from one
scrape to the next. A new process continues the counts of one that ended.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic_core import from_json, to_json

if TYPE_CHECKING:
    from filelock import FileLock

FOLDER_VARIABLE: Final = "_HELOISE_METRICS_FOLDER"  # from `serve` to its processes
SHARE_SECONDS: Final = 1.0

# By metric, pairs of label values and numbers.
Numbers = Mapping[str, Sequence[tuple[Sequence[str], list[float]]]]


class SharedCounts:
    """The slot of this process, and how to read all slots."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._slot, self._lock = _take_slot(folder)

    def load_own(self) -> Numbers:
        """Load the counts of the process that had the slot before."""
        return self._load(self._slot).get("counts", {})

    def store(self, counts: Numbers, gauges: Numbers) -> None:
        """Replace this process's counts and gauges."""
        path = self._folder / f"{self._slot}.json"
        temporary_path = path.with_suffix(".new")
        temporary_path.write_bytes(to_json({"counts": counts, "gauges": gauges}))
        temporary_path.replace(path)

    def load_counts(self) -> Iterator[Numbers]:
        """Load the counts of all processes, also of those that ended."""
        for slot in self._list_slots():
            yield self._load(slot).get("counts", {})

    def load_gauges(self) -> Iterator[Numbers]:
        """Load the gauges of all processes that run."""
        for slot in self._list_slots():
            if slot == self._slot or self._is_taken(slot):
                yield self._load(slot).get("gauges", {})

    def close(self) -> None:
        """Leave the slot to another process."""
        self._lock.release()

    def _list_slots(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob("*.json"))

    def _is_taken(self, slot: int) -> bool:
        lock = _try_lock(self._folder, slot)
        if lock is not None:
            lock.release()
        return lock is None

    def _load(self, slot: int) -> Mapping[str, Numbers]:
        try:
            numbers: Mapping[str, Numbers] = from_json((self._folder / f"{slot}.json").read_bytes())
        except FileNotFoundError:
            return {}
        return numbers


def open_shared_counts() -> SharedCounts | None:
    """Take a slot in the folder of this `serve`; None if it has only one process."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return None if folder is None else SharedCounts(Path(folder))


def _take_slot(folder: Path) -> tuple[int, "FileLock"]:
    """Take the first free slot; its lock ends with the process."""
    for slot in count():
        if (lock := _try_lock(folder, slot)) is not None:
            return slot, lock
    raise AssertionError


def _try_lock(folder: Path, slot: int) -> "FileLock | None":
    from filelock import FileLock, Timeout

    lock = FileLock(folder / f"{slot}.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock
