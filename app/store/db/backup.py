"""Copy a SQLite database while other processes read and write it.

A copy carries a mark in its header. Nothing delivers from it until `heloise hold` removes the mark:
what waits in the copy may have been sent since.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import SettingsError, Unavailable
from app.store.db.sqlite_driver import PRIVATE_MODE

PAGES_PER_STEP: Final = 2048
PARTIAL_SUFFIX: Final = ".partial"
SQLITE_SUFFIXES: Final = ("-journal", "-wal", "-shm")
BACKUP: Final = 1
# Shows how many pages are copied, and of how many.
ShowProgress = Callable[[int, int | None], None]


def copy_database(source: Path, target: Path, show: ShowProgress) -> None:
    """Copy a SQLite database to a new file that only its owner can read.

    The copy contains every transaction that was committed before the call, and none in part. The
    target appears at the end, checked and on the disk, or not at all.

    Raises SettingsError if the target exists or cannot be created, Unavailable if the copy fails.
    """
    _require_absent(target)
    with _partial_file(target) as partial:
        try:
            _copy(source, partial, show)
            _check(partial)
        except sqlite3.Error as error:
            raise Unavailable(
                "database-unavailable", f"{source} cannot be copied: {error}."
            ) from error
        _sync(partial)
        _publish(partial, target)
    _sync(target.parent)


def is_backup(path: Path) -> bool:
    """Whether a SQLite database is a copy that nobody has held yet."""
    with closing(sqlite3.connect(path)) as connection:
        [version] = connection.execute("PRAGMA user_version").fetchone()
    return bool(version == BACKUP)


async def remove_mark(connection: AsyncConnection) -> None:
    """Let processes deliver from this database; on PostgreSQL there is no mark."""
    if connection.dialect.name == "sqlite":
        await connection.execute(text("PRAGMA user_version = 0"))


def _require_absent(target: Path) -> None:
    if target.exists():
        raise _build_exists_error(target)


def _build_exists_error(target: Path) -> SettingsError:
    return SettingsError(f"{target} exists: name a new file, or remove it first")


def _publish(partial: Path, target: Path) -> None:
    """Name the copy after its target; a link overwrites no file that somebody made meanwhile."""
    try:
        target.hardlink_to(partial)
    except FileExistsError:
        raise _build_exists_error(target) from None
    except OSError:  # the file system, such as FAT, has no hard links
        _require_absent(target)
        partial.rename(target)


@contextmanager
def _partial_file(target: Path) -> Iterator[Path]:
    """Create the file that becomes the target; delete it at the end, with SQLite's files of it."""
    partial = target.with_name(target.name + PARTIAL_SUFFIX)
    try:
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_MODE))
    except FileExistsError:
        raise SettingsError(
            f"{partial} exists: another backup writes it, or left it behind; name another target,"
            " or remove it"
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{target} cannot be created: {error.strerror}; name a file in an existing folder that"
            " you may write to"
        ) from None
    try:
        yield partial
    finally:
        for suffix in ("", *SQLITE_SUFFIXES):
            partial.with_name(partial.name + suffix).unlink(missing_ok=True)


def _copy(source: Path, partial: Path, show: ShowProgress) -> None:
    reader = sqlite3.connect(f"{source.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None)
    writer = sqlite3.connect(partial, isolation_level=None)
    with closing(reader), closing(writer):
        # Steps of one read transaction copy one snapshot. Without it, each commit of another
        # process would start the copy again.
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        reader.backup(
            writer,
            pages=PAGES_PER_STEP,
            progress=lambda _, remaining, total: show(total - remaining, total),
        )
        writer.execute(f"PRAGMA user_version = {BACKUP}")
        # The copy is one file. Heloise turns the write-ahead log on again when it opens it.
        writer.execute("PRAGMA journal_mode = DELETE")


def _check(partial: Path) -> None:
    with closing(sqlite3.connect(partial)) as connection:
        [first_line] = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if first_line != "ok":
        raise sqlite3.DatabaseError(f"the integrity check of the copy says: {first_line}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
