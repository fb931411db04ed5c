"""Track a worker's leases and how long they are safe (invariant 3)."""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from typing import Final

from app.domain.clock import uptime_seconds
from app.domain.errors import Unavailable
from app.store.db.database import Database
from app.store.outbox import claims, leases

log = logging.getLogger(__name__)

MAX_RENEWED: Final = 10_000  # below the parameter limits of PostgreSQL and SQLite


@dataclass(eq=False)
class Leases:
    """Maps each message to the end of its lease.

    A worker whose session holds a lock may lose its leases earlier, with the lock. It `is_certain`
    of them until a moment of the machine's uptime, which each heartbeat of the session delays.
    `note_freed` is called after messages went back to the queue, at their former places.
    """

    database: Database
    _: KW_ONLY
    owner: str
    length: timedelta
    now: Callable[[], datetime]
    note_freed: Callable[[], None] = lambda: None
    _until: dict[str, datetime] = field(default_factory=dict)
    _certain_until: float = math.inf
    _trusted: asyncio.Event = field(default_factory=asyncio.Event)

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._until

    def add(self, message_ids: Iterable[str], until: datetime) -> None:
        self._until |= dict.fromkeys(message_ids, until)

    def drop(self, message_ids: Iterable[str]) -> None:
        """Stop renewing settled or released messages."""
        for message_id in message_ids:
            self._until.pop(message_id, None)

    def is_held(self, message: claims.ClaimedMessage) -> bool:
        """Whether this worker certainly holds the lease, even if the database is down."""
        until = self._until.get(message.id)
        return until is not None and self.now() < until

    @property
    def needs_no_session(self) -> bool:
        """Whether the leases end by time alone."""
        return self._certain_until == math.inf

    @property
    def is_certain(self) -> bool:
        """Whether no other worker can have ended the leases before their time."""
        return uptime_seconds() < self._certain_until

    def trust_until(self, certain_until: float) -> None:
        """Be certain of the leases until a moment of the uptime."""
        self._certain_until = certain_until
        self._trusted.set()

    async def wait_certain(self) -> None:
        """Wait until this worker is certain of its leases."""
        while not self.is_certain:
            self._trusted.clear()
            await self._trusted.wait()

    async def confirm(self, message: claims.ClaimedMessage) -> bool:
        """Whether nobody else sends the message; waits until that is certain.

        A lease that has expired, but that nobody took over, is renewed first.
        """
        if not self.database.is_postgresql:  # there is no other worker
            return True
        await self.wait_certain()
        if message.id in self and not self.is_held(message):
            with suppress(Unavailable):
                await self.renew()
        return self.is_held(message)

    @property
    def has_run_out(self) -> bool:
        """Whether a lease has expired, so that the database may grant its message again."""
        return bool(self._until) and min(self._until.values()) <= self.now()

    async def renew(self) -> None:
        """Extend every lease; drop the messages that another worker took over."""
        held = list(self._until)
        if not held:
            return
        until = self.now() + self.length
        kept_ids: set[str] = set()
        async with self.database.transaction() as connection:
            for start in range(0, len(held), MAX_RENEWED):
                kept_ids |= await leases.renew(
                    connection,
                    owner=self.owner,
                    message_ids=held[start : start + MAX_RENEWED],
                    lease_until=until,
                )
        # Do not add messages again that were settled during the update.
        self._until |= {message_id: until for message_id in kept_ids if message_id in self._until}
        lost = {
            message_id for message_id in held if message_id not in kept_ids
        } & self._until.keys()
        self.drop(lost)
        if lost:
            log.warning("another worker took over %d messages", len(lost))

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
            async with self.database.transaction(announce=True) as connection:
                await leases.release(
                    connection,
                    owner=self.owner,
                    message_ids=released[start : start + MAX_RENEWED],
                    now=self.now(),
                )
            self.note_freed()

    async def release_all(self) -> None:
        """Release everything. Raises Unavailable without a database."""
        await self.release(list(self._until))
