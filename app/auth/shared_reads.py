"""Share concurrent reads of the same key."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SharedReads(Generic[Key, Value]):
    """Key → one read for all who ask before it has ended.

    Without it everybody under way would read anew what a cache has just let go, all at once.
    """

    def __init__(self) -> None:
        self._tasks: dict[Key, asyncio.Task[Value]] = {}

    async def get(
        self, key: Key, read: Callable[[], Awaitable[Value]], keep: Callable[[Value], None]
    ) -> Value:
        """What `read` answers or raises, here or for whom it is under way already.

        `keep` is called with an answer that nothing has changed meanwhile. A read goes on for the
        others where one of them is cancelled.
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
        """Something was changed: who asks from now on reads anew, and older reads are not kept."""
        self._tasks.clear()


def _retrieve_error(task: "asyncio.Task[Value]") -> None:
    """Whoever still waits is told how it failed; if that is nobody, nothing is amiss."""
    if not task.cancelled():
        task.exception()
