"""Share concurrent reads of the same key."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

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
