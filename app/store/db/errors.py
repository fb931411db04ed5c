"""Classify driver errors: temporary or permanent.

SQLSTATE classes: PostgreSQL's manual, appendix A.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.domain.errors import SettingsError, Unavailable

log = logging.getLogger(__name__)

ROLLBACK: Final = "40"  # serialization failure, deadlock: a retry may succeed
TEMPORARY: Final = (
    ROLLBACK,
    "08",  # connection error
    "53",  # disk full, out of memory, too many connections
    "55P03",  # lock timeout
    "57",  # operator: shutdown, crash, startup, cancelled
    "58",  # system error: I/O
    "25006",  # read only: the server became a standby
)
# Connecting may succeed later: an operator changes the password, or restores the database.
REFUSED_CONNECTING: Final = (
    "28",  # credentials, pg_hba.conf
    "3D",  # the database is missing
)
# After these the connection is useless: it is closed, or leads to a standby.
DISCONNECTED: Final = ("08", "57P", "25006")
# A connection that breaks during COMMIT may have committed.
IN_DOUBT: Final = ("08", "57P")
DATABASE_UNAVAILABLE: Final = "database-unavailable"  # the problem type
# SQLAlchemy does not translate what the server raises while it refuses a connection.
CONNECTION_REFUSED: Final = (SettingsError, asyncpg.PostgresError)


class Refused(Unavailable):
    """The database refused the transaction; nothing was written."""


class RolledBack(Refused):
    """The database rolled back in favour of another transaction: retry at once."""


class Locked(Refused):
    """Another process held SQLite's write lock for too long."""


class CommitUnknown(Unavailable):
    """The connection broke during the commit, which may have succeeded."""

    def __init__(self) -> None:
        super().__init__(
            "commit-unknown",
            "The connection to the database broke during the commit, so the change may be stored"
            " or not: check before you try again.",
        )


_FAULT_NAMES: Final[Mapping[type[Unavailable], str]] = {
    RolledBack: "rolled_back",
    Locked: "locked",
    Refused: "refused",
    CommitUnknown: "commit_unknown",
}


def name_fault(error: Unavailable) -> str | None:
    """Name the database's fault in a word, for metrics; None if the error is not its fault."""
    for kind, name in _FAULT_NAMES.items():
        if isinstance(error, kind):
            return name
    return "unavailable" if error.slug == DATABASE_UNAVAILABLE else None


@contextmanager
def database_faults() -> Iterator[None]:
    """Turn temporary driver errors into Unavailable."""
    try:
        yield
    except DBAPIError as error:
        if _is_temporary(error):
            raise _unavailable(error, error.orig) from error
        raise
    except asyncpg.PostgresError as error:  # SQLAlchemy does not translate errors of connecting
        if sqlstate(error).startswith((*TEMPORARY, *REFUSED_CONNECTING)):
            raise _unavailable(error, error) from error
        raise
    except (OSError, PoolTimeoutError, asyncpg.InterfaceError) as error:
        raise _unavailable(error, error) from error


def _is_temporary(error: DBAPIError) -> bool:
    # SQLite's "locked", "full", "readonly" and "I/O error" are all OperationalError.
    return (
        isinstance(error, OperationalError | InterfaceError)
        or error.connection_invalidated
        or sqlstate(error.orig).startswith(TEMPORARY)
    )


def sqlstate(error: BaseException | None) -> str:
    """Return the server's SQLSTATE, or an empty string if the server did not answer."""
    return str(getattr(error, "sqlstate", None) or "")


def _unavailable(error: Exception, cause: BaseException | None) -> Unavailable:
    log.warning("database error: %s", cause or error)
    state = sqlstate(cause)
    if state.startswith(ROLLBACK):
        return database_unavailable(RolledBack)
    if state and not state.startswith(IN_DOUBT):
        return database_unavailable(Refused)
    is_locked = str(getattr(cause, "sqlite_errorname", "")).startswith("SQLITE_BUSY")
    return database_unavailable(Locked if is_locked else Unavailable)


def database_unavailable(kind: type[Unavailable] = Unavailable) -> Unavailable:
    """Build the error for writes that the database does not accept now."""
    return kind(
        DATABASE_UNAVAILABLE,
        "The database is not available. Nothing was written; try again.",
    )
