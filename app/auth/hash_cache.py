"""Cache what hashes of secrets stand for, and limit the reads that guesses can cause."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Generic, TypeVar

from app.auth.coalesced_reads import SharedReads
from app.domain.clock import monotonic_seconds

# A revocation is effective within five seconds, including the time of its commit.
KEEP_SECONDS: Final = 3.0
MAX_ENTRIES: Final = 10_000
# Limits the database connections that guesses can use; the others serve valid secrets.
MAX_UNKNOWN_READS: Final = 4
Value = TypeVar("Value")


class HashCache(Generic[Value]):
    """Cache found values by hash for a few seconds."""

    def __init__(
        self,
        *,
        keep_seconds: float = KEEP_SECONDS,
        max_entries: int = MAX_ENTRIES,
        monotonic: Callable[[], float] = monotonic_seconds,
    ) -> None:
        self._keep_seconds = keep_seconds
        self._max_entries = max_entries
        self._monotonic = monotonic
        self._entries: dict[bytes, tuple[float, Value]] = {}
        self._reads = SharedReads[bytes, Value | None]()
        self._unknown_slots = asyncio.Semaphore(MAX_UNKNOWN_READS)

    def get(self, secret_hash: bytes) -> Value | None:
        """Return the value if it was read at most `keep_seconds` ago."""
        entry = self._entries.get(secret_hash)
        if entry is None or self._monotonic() >= entry[0]:
            return None
        return entry[1]

    async def read(
        self, secret_hash: bytes, find: Callable[[], Awaitable[Value | None]]
    ) -> Value | None:
        """Call `find`, and cache the value that it returns; raises what `find` raises.

        Reads a hash that was cached before at once; limits concurrent reads of other hashes.
        """
        return await self._reads.get(
            secret_hash, partial(self._find, secret_hash, find), partial(self.keep, secret_hash)
        )

    async def _find(
        self, secret_hash: bytes, find: Callable[[], Awaitable[Value | None]]
    ) -> Value | None:
        if secret_hash in self._entries:
            return await find()
        async with self._unknown_slots:
            return await find()

    def keep(self, secret_hash: bytes, value: Value | None) -> None:
        """Cache a value; above the maximum, drop the oldest."""
        self._entries.pop(secret_hash, None)
        if value is None:
            return
        if len(self._entries) >= self._max_entries:
            del self._entries[next(iter(self._entries))]
        self._entries[secret_hash] = (self._monotonic() + self._keep_seconds, value)

    def drop(self, is_stale: Callable[[Value], bool]) -> None:
        """Drop the values that this process has changed or deleted."""
        self._reads.invalidate()
        for secret_hash in [
            kept_hash for kept_hash, (_, value) in self._entries.items() if is_stale(value)
        ]:
            del self._entries[secret_hash]
