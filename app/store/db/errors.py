"""Classify driver errors: temporary or permanent.

SQLSTATE classes: PostgreSQL's manual, appendix A.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.domain.errors import Unavailable

log = logging.getLogger(__name__)

ROLLBACK: Final = "40"  # serialization failure, deadlock: the same again may well succeed
TEMPORARY: Final = (
    ROLLBACK,
    "08",  # the connection
    "53",  # no disk, no memory, too many connections
    "55P03",  # a lock was not to be had in time
    "57",  # an operator: shutdown, crash of a neighbour, starting up, cancelled
    "58",  # the system below: I/O
    "25006",  # read only: it has become a standby
)
# After these the connection is of no use: it has ended, or leads to a server that is no primary.
DISCONNECTED: Final = ("08", "57P", "25006")
# A connection that ends while it commits may have committed.
IN_DOUBT: Final = ("08", "57P")


class Refused(Unavailable):
    """The database answered that it does not do it now: nothing of it was done."""


class RolledBack(Refused):
    """The database broke the transaction off in favour of another: it may be repeated at once."""


class Locked(Refused):
    """SQLite's file was another process's to write for longer than one waits for it."""


class CommitUnknown(Unavailable):
    """The connection was lost while it committed: whether the transaction stands is not known."""

    def __init__(self) -> None:
        super().__init__(
            "commit-unknown",
            "The connection to the database broke during the commit, so the change may be stored"
            " or not: check before you try again.",
        )


@contextmanager
def database_faults() -> Iterator[None]:
    """Turn the driver's errors that a later try may mend into Unavailable."""
    try:
        yield
    except DBAPIError as error:
        if _is_temporary(error):
            raise _unavailable(error, error.orig) from error
        raise
    except asyncpg.PostgresError as error:  # while connecting, before SQLAlchemy translates
        if str(error.sqlstate or "").startswith(TEMPORARY):
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
    """The server's own code for what it answered, empty where it answered nothing."""
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
    """The problem to raise where the database does not take something now."""
    return kind(
        "database-unavailable",
        "The database is not available. Nothing was written; try again.",
    )
