"""Tell an observer what happens to transactions, and what they finished."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.types import RecipientStatus

# How many recipients reached a status, by status, tenant and profile.
Finished = Mapping[tuple[RecipientStatus, str, str | None], int]


class DatabaseObserver:
    """Receives facts about transactions, for metrics; ignores them unless overridden."""

    def record_transaction(self, seconds: float) -> None:
        """Record a committed transaction, with the wait for its connection."""

    def record_database_error(self, kind: str) -> None:
        """Record a transaction or a read that a fault of the database ended."""

    def record_replica_read(self, server: str) -> None:
        """Record a read that may lag, and whether the standby or the primary served it."""

    def record_finished(self, finished: Finished) -> None:
        """Record the recipients that a committed transaction finished."""


_KEY: Final = "heloise_finished"


def note_finished(
    connection: AsyncConnection, status: RecipientStatus, tenant_id: str, profile_id: str | None
) -> None:
    """Note that a recipient is finished; the observer hears of it after the commit."""
    finished: dict[tuple[RecipientStatus, str, str | None], int]
    finished = connection.info.setdefault(_KEY, {})
    key = (status, tenant_id, profile_id)
    finished[key] = finished.get(key, 0) + 1


def take_finished(connection: AsyncConnection) -> Finished:
    """Return the notes of a connection, and forget them."""
    finished: Finished = connection.info.pop(_KEY, {})
    return finished
