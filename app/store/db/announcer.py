"""Announce committed work to other processes, a few times a second at most."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import Final

log = logging.getLogger(__name__)

# NOTIFY takes a lock over the whole server until its transaction ends, so it is not part of the
# commits that it announces, and many of them share one.
INTERVAL_SECONDS: Final = 0.05


class Announcer:
    """Calls `notify` after announcements: the first at once, later ones together.

    A failed announcement is only logged: other processes also poll.
    """

    def __init__(self, notify: Callable[[], Awaitable[None]]) -> None:
        self._notify = notify
        self._is_due = False
        self._task: asyncio.Task[None] | None = None

    def announce(self) -> None:
        """Announce soon, without waiting for it."""
        self._is_due = True
        if self._task is None:
            # It goes on for many callers, so it keeps no request's id and no span of theirs.
            self._task = asyncio.create_task(self._run(), context=Context())

    async def close(self) -> None:
        """Announce what is due, and stop."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._notify_if_due()

    async def _run(self) -> None:
        try:
            while self._is_due:
                await self._notify_if_due()
                await asyncio.sleep(INTERVAL_SECONDS)
        finally:
            self._task = None

    async def _notify_if_due(self) -> None:
        if not self._is_due:
            return
        self._is_due = False
        try:
            await self._notify()
        except asyncio.CancelledError:
            self._is_due = True
            raise
        except Exception as error:  # noqa: BLE001 - what it announces is committed
            log.warning("could not announce new work, which others find by polling: %s", error)
