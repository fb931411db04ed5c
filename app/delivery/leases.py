"""Track a worker's leases and how long they are safe (invariant 3)."""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

from app.domain.errors import Unavailable
from app.store.db.engine import Database
from app.store.outbox import queries as outbox

log = logging.getLogger(__name__)

MAX_RENEWED: Final = 10_000  # below the parameter limits of PostgreSQL and SQLite


class Leases:
    """Maps each message to the end of its lease."""

    def __init__(
        self, database: Database, *, owner: str, length: timedelta, now: Callable[[], datetime]
    ) -> None:
        self.owner = owner
        self.length = length
        self._database = database
        self._now = now
        self._until: dict[str, datetime] = {}

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._until

    def add(self, message_ids: Iterable[str], until: datetime) -> None:
        """Record new leases."""
        self._until |= dict.fromkeys(message_ids, until)

    def drop(self, message_ids: Iterable[str]) -> None:
        """Stop renewing settled or released messages."""
        for message_id in message_ids:
            self._until.pop(message_id, None)

    def is_held(self, message: outbox.ClaimedMessage) -> bool:
        """Whether this worker certainly holds the lease, even if the database is down."""
        until = self._until.get(message.id)
        return until is not None and self._now() < until

    @property
    def has_run_out(self) -> bool:
        """Whether a lease has expired, so that the database may grant its message again."""
        return bool(self._until) and min(self._until.values()) <= self._now()

    async def renew(self) -> set[str]:
        """Extend every lease; returns the messages that another worker took over."""
        held = list(self._until)
        if not held:
            return set()
        until = self._now() + self.length
        kept: set[str] = set()
        async with self._database.transaction() as connection:
            for start in range(0, len(held), MAX_RENEWED):
                kept |= await outbox.renew(
                    connection,
                    owner=self.owner,
                    message_ids=held[start : start + MAX_RENEWED],
                    lease_until=until,
                )
        # Do not add messages again that were settled during the update.
        self._until |= {message_id: until for message_id in kept if message_id in self._until}
        lost = {message_id for message_id in held if message_id not in kept} & self._until.keys()
        self.drop(lost)
        return lost

    async def give_back(self, message_ids: Iterable[str]) -> None:
        """Release messages unchanged; without a database, let their leases expire."""
        try:
            await self.release(message_ids)
        except Unavailable:
            log.warning("could not release messages; their leases will expire")

    async def release(self, message_ids: Iterable[str]) -> None:
        """Release messages untouched. Raises Unavailable without a database."""
        released = [message_id for message_id in message_ids if message_id in self._until]
        self.drop(released)
        for start in range(0, len(released), MAX_RENEWED):
            async with self._database.transaction(announce=True) as connection:
                await outbox.release(
                    connection,
                    owner=self.owner,
                    message_ids=released[start : start + MAX_RENEWED],
                    now=self._now(),
                )

    async def release_all(self) -> None:
        """Release everything."""
        await self.release(list(self._until))
