"""Measure a SQLite file: its journal, its disk, and the file system that holds it."""

import re
import shutil
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.frozen_dataclass import frozen_dataclass

MOUNTS: Final = Path("/proc/self/mountinfo")
SYNCHRONOUS: Final = ("off", "normal", "full", "extra")
DURABLE_LEVELS: Final = ("full", "extra")
_SELECT_JOURNAL_MODE: Final = text("PRAGMA journal_mode")
_SELECT_SYNCHRONOUS: Final = text("PRAGMA synchronous")
# The kernel writes spaces, tabs, line ends and backslashes so.
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


@frozen_dataclass(kw_only=True)
class SqliteHealth:
    """How the file is written, and where; `file_system` is None if the machine does not say."""

    journal_mode: str
    synchronous: str
    file_system: str | None
    wal_bytes: int
    disk_free_bytes: int
    disk_size_bytes: int

    @property
    def is_durable(self) -> bool:
        """Whether a commit survives a crash of the machine (invariant 1)."""
        return self.synchronous in DURABLE_LEVELS


async def load_sqlite_health(connection: AsyncConnection, path: Path) -> SqliteHealth:
    """Measure a file through one of its connections."""
    journal_mode = (await connection.execute(_SELECT_JOURNAL_MODE)).scalar_one()
    synchronous = (await connection.execute(_SELECT_SYNCHRONOUS)).scalar_one()
    disk = shutil.disk_usage(path.parent)
    return SqliteHealth(
        journal_mode=str(journal_mode),
        synchronous=SYNCHRONOUS[synchronous],
        file_system=_load_file_system(path),
        wal_bytes=measure_wal(path),
        disk_free_bytes=disk.free,
        disk_size_bytes=disk.total,
    )


def measure_wal(path: Path) -> int:
    """Measure the write-ahead log beside a file; 0 if there is none."""
    try:
        return Path(f"{path}-wal").stat().st_size
    except OSError:
        return 0


def _load_file_system(path: Path) -> str | None:
    try:
        return find_file_system(path.resolve(), MOUNTS.read_text())
    except OSError:  # another system than Linux
        return None


def find_file_system(path: Path, mounts: str) -> str | None:
    """Find the type of the file system of an absolute path, in the text of a mountinfo file.

    Fields: proc_pid_mountinfo(5). Later mounts cover earlier ones at the same place.
    """
    longest, file_system = -1, None
    for line in mounts.splitlines():
        fields, _, source = line.partition(" - ")
        place = Path(_OCTAL.sub(_unescape, fields.split(" ")[4]))
        depth = len(place.parts)
        if path.is_relative_to(place) and depth >= longest:
            longest, file_system = depth, source.split(" ")[0]
    return file_system


def _unescape(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))
