"""Track a worker's leases and how long they are safe (invariant 3)."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

from app.store.db.engine import Database
from app.store.outbox import queries as outbox

MAX_RENEWED: Final = 10_000  # below what PostgreSQL's and SQLite's statements take as parameters


class Leases:
    """Message id → the time until which only this worker may send it."""

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
        """Remember what was just claimed."""
        self._until |= dict.fromkeys(message_ids, until)

    def drop(self, message_ids: Iterable[str]) -> None:
        """Remove settled or released messages, and stop renewing them."""
        for message_id in message_ids:
            self._until.pop(message_id, None)

    def holds(self, message_id: str) -> bool:
        """Whether the lease is this worker's for certain, whatever the database has answered."""
        until = self._until.get(message_id)
        return until is not None and self._now() < until

    @property
    def has_run_out(self) -> bool:
        """Whether something is in hand that the database may give to others, or to us again."""
        return bool(self._until) and min(self._until.values()) <= self._now()

    async def renew(self) -> set[str]:
        """Renew all leases; return the messages that another worker took over."""
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
                    held=held[start : start + MAX_RENEWED],
                    lease_until=until,
                )
        # What was settled while this was written is not held any more, and so not brought back.
        self._until |= {each: until for each in kept if each in self._until}
        lost = {each for each in held if each not in kept and each in self._until}
        self.drop(lost)
        return lost

    async def release(self, message_ids: Iterable[str]) -> None:
        """Give messages back untouched; where the database is away their leases just run out."""
        given_back = [each for each in message_ids if each in self._until]
        self.drop(given_back)
        for start in range(0, len(given_back), MAX_RENEWED):
            async with self._database.transaction(announce=True) as connection:
                await outbox.release(
                    connection,
                    owner=self.owner,
                    held=given_back[start : start + MAX_RENEWED],
                    now=self._now(),
                )

    async def release_all(self) -> None:
        """Give everything back."""
        await self.release(list(self._until))
