"""Listen for announced work on one connection of PostgreSQL, and watch over its session."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final

import asyncpg

from app.domain.clock import monotonic_seconds
from app.domain.errors import SettingsError

log = logging.getLogger(__name__)

WAKE_CHANNEL: Final = "heloise_wake"
IS_WRITABLE: Final = (
    "SELECT NOT (pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean)"
)
# A connection that breaks during an answer may leave asyncpg's protocol in a state of its own.
CONNECTION_FAULTS: Final = (
    OSError,
    SettingsError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
RETRY_SECONDS: Final = 2.0
CHECK_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 5.0
# The server notices within 13 s that the machine of a session has vanished, and ends the session.
# It ends a statement that nobody waits for any more, which could otherwise take a lock.
SESSION_SETTINGS: Final[Mapping[str, str]] = {
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "13000",
    "statement_timeout": f"{ANSWER_SECONDS * 1000:.0f}",
}


class SessionWatch:
    """What a process does with the session of the connection that listens; by default nothing."""

    interval_seconds: float = CHECK_SECONDS

    async def begin(self, connection: Any) -> None:  # noqa: ANN401 - asyncpg has no types
        """Prepare a new session. Raises asyncpg's errors."""

    async def check(self, connection: Any) -> None:  # noqa: ANN401 - as above
        """Use the session, which shows that it lives. Raises asyncpg's errors."""

    async def end(self) -> None:
        """Note that there is no session; called again until there is one."""


@dataclass(frozen=True, eq=False, repr=False)
class Listener:
    """Calls `wake` after each announcement; connects again when the connection is lost."""

    connect: Callable[..., Awaitable[Any]]
    is_pooled: Callable[[], Awaitable[bool]]
    _: KW_ONLY
    wake: Callable[[], None]
    watch: SessionWatch

    async def run(self) -> None:
        """Listen until cancelled; return if a pooler is in between."""
        while True:
            try:
                if await self.is_pooled():
                    log.info("LISTEN does not work behind a pooler: polling for new work instead")
                    return
                await self._listen_once()
            except CONNECTION_FAULTS as error:
                log.warning("LISTEN failed, polling for new work meanwhile: %s", error)
            except Exception:
                log.exception("unexpected error while listening")
            try:
                await self.watch.end()
            except Exception:
                log.exception("unexpected error after the end of a session")
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen_once(self) -> None:
        connection = await self.connect(
            server_settings=SESSION_SETTINGS, answer_seconds=ANSWER_SECONDS
        )
        closed = asyncio.Event()
        connection.add_termination_listener(lambda _: closed.set())
        try:
            await self.watch.begin(connection)
            await connection.add_listener(WAKE_CHANNEL, lambda *_: self.wake())
            self.wake()
            checked_seconds = -math.inf
            while not closed.is_set():
                if monotonic_seconds() - checked_seconds >= CHECK_SECONDS:
                    # A silently cut path would go unnoticed for hours, and a former primary
                    # announces nothing.
                    if not await connection.fetchval(IS_WRITABLE):
                        raise OSError("the server can only be read")
                    checked_seconds = monotonic_seconds()
                await self.watch.check(connection)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.watch.interval_seconds):
                        await closed.wait()
        finally:
            connection.terminate()
