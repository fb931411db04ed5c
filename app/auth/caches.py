"""Cache keys, tenants and profiles, so that a request that resembles the last needs no reads."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any, Final, Generic, TypeVar

from app.domain.clock import monotonic_seconds

# A revocation is effective within five seconds, including the time of its commit.
KEEP_SECONDS: Final = 3.0
MAX_ENTRIES: Final = 10_000
# Limits the database connections that guesses can use; the others serve valid secrets.
MAX_UNKNOWN_READS: Final = 4
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SharedReads(Generic[Key, Value]):
    """Run one read per key, and share its result among concurrent callers.

    Without it, all concurrent requests would read an expired cache entry at once.
    """

    def __init__(self) -> None:
        self._tasks: dict[Key, asyncio.Task[Value]] = {}

    async def get(
        self, key: Key, read: Callable[[], Awaitable[Value]], keep: Callable[[Value], None]
    ) -> Value:
        """Return the result of `read`, or of the read of this key in progress.

        Calls `keep` with the result unless `invalidate` was called meanwhile. Cancelling one caller
        does not cancel the read for the others.
        """
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.create_task(self._read(key, read, keep), name="shared read")
            task.add_done_callback(_retrieve_error)
            self._tasks[key] = task
        return await asyncio.shield(task)

    async def _read(
        self, key: Key, read: Callable[[], Awaitable[Value]], keep: Callable[[Value], None]
    ) -> Value:
        task = asyncio.current_task()
        try:
            value = await read()
            if self._tasks.get(key) is task:
                keep(value)
            return value
        finally:
            if self._tasks.get(key) is task:
                del self._tasks[key]

    def invalidate(self) -> None:
        """Start new reads from now on, and do not keep the results of reads in progress."""
        self._tasks.clear()


def _retrieve_error(task: "asyncio.Task[Value]") -> None:
    """Retrieve the exception, so that asyncio does not log it if no caller waits."""
    if not task.cancelled():
        task.exception()


@dataclass(eq=False, repr=False)
class ReadCache(Generic[Key, Value]):
    """Cache values by key for `keep_seconds`.

    Changes in this process are visible at once, changes in others after this time.
    """

    keep_seconds: float = KEEP_SECONDS
    _: KW_ONLY
    max_entries: int = MAX_ENTRIES
    monotonic: Callable[[], float] = monotonic_seconds
    _entries: dict[Key, tuple[float, Value]] = field(default_factory=dict)
    _reads: SharedReads[Key, Any] = field(default_factory=SharedReads)

    def get(self, key: Key) -> Value | None:
        """Return the value if it was read at most `keep_seconds` ago."""
        entry = self._entries.get(key)
        if entry is None or self.monotonic() >= entry[0]:
            return None
        return entry[1]

    def keep(self, key: Key, value: Value | None) -> None:
        """Cache a value; above the maximum, drop the oldest."""
        self._entries.pop(key, None)
        if value is None:
            return
        if len(self._entries) >= self.max_entries:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (self.monotonic() + self.keep_seconds, value)

    def drop(self, is_stale: Callable[[Key, Value], bool]) -> None:
        """Drop the values that this process has changed or deleted."""
        self._reads.invalidate()
        for key in [key for key, (_, value) in self._entries.items() if is_stale(key, value)]:
            del self._entries[key]


@dataclass(eq=False, repr=False)
class HashCache(ReadCache[bytes, Value]):
    """Cache what hashes of secrets stand for, and limit the reads that guesses can cause."""

    _unknown_slots: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(MAX_UNKNOWN_READS)
    )

    async def read(self, key: bytes, find: Callable[[], Awaitable[Value | None]]) -> Value | None:
        """Call `find`, and cache the value that it returns; raises what `find` raises.

        Reads a hash that was cached before at once; limits concurrent reads of other hashes.
        """
        find_slowly = partial(self._find, key, find)
        value: Value | None = await self._reads.get(key, find_slowly, partial(self.keep, key))
        return value

    async def _find(self, key: bytes, find: Callable[[], Awaitable[Value | None]]) -> Value | None:
        if key in self._entries:
            return await find()
        async with self._unknown_slots:
            return await find()


class TenantCache(ReadCache[tuple[str, str | None], Value]):
    """Cache values by tenant and name; the name None is the tenant's only or default value."""

    async def read(
        self, key: tuple[str, str | None], find: Callable[[], Awaitable[Value]]
    ) -> Value:
        """Call `find`, and cache the value that it returns; raises what `find` raises."""
        value: Value = await self._reads.get(key, find, partial(self.keep, key))
        return value

    def invalidate(self, tenant_id: str) -> None:
        """Drop the values of a tenant that this process has changed."""
        self.drop(lambda key, _: key[0] == tenant_id)
