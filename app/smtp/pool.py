"""Pool a profile's idle connections, and retire outdated ones."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from app.domain.clock import monotonic_seconds
from app.smtp.identity import Identity
from app.smtp.session import Session

IDLE_SECONDS: Final = 10.0
# Servers and firewalls drop old or silent connections, so keep none for long and check silent ones.
MAX_AGE_SECONDS: Final = 300.0
CHECK_AFTER_SECONDS: Final = 3.0


@dataclass(slots=True, eq=False, kw_only=True)
class Pool:
    """Idle sessions, newest last. A caller owns a session from `take` to `keep`."""

    max_messages: int
    idle_seconds: float = IDLE_SECONDS
    monotonic: Callable[[], float] = monotonic_seconds
    _idle: deque[tuple[Session, asyncio.TimerHandle]] = field(default_factory=deque)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def has_sessions(self) -> bool:
        """Whether a connection is idle or closing."""
        return bool(self._idle or self._closing)

    @property
    def idle(self) -> int:
        """The number of idle connections."""
        return len(self._idle)

    def is_fit(self, session: Session, identity: Identity) -> bool:
        """Whether the session may carry another message of this identity (invariant 8)."""
        return (
            session.is_open
            and session.identity == identity
            and session.transactions < self.max_messages
            and self.monotonic() - session.opened_seconds < MAX_AGE_SECONDS
        )

    async def take(self, identity: Identity) -> Session | None:
        """Return an idle, live session of exactly this identity, or None."""
        while self._idle:
            session, timer = self._idle.pop()
            timer.cancel()
            try:
                if self.is_fit(session, identity) and await self._is_alive(session):
                    return session
            except BaseException:
                session.abort()
                raise
            self.retire(session)
        return None

    async def _is_alive(self, session: Session) -> bool:
        is_recent = self.monotonic() - session.used_seconds < CHECK_AFTER_SECONDS
        return is_recent or await session.is_alive()

    def keep(self, session: Session) -> None:
        """Keep a session for the next message; abort it if a mail is begun."""
        if session.begun_mail is not None:
            session.abort()
            return
        timer = asyncio.get_running_loop().call_later(self.idle_seconds, self._expire, session)
        self._idle.append((session, timer))

    def _expire(self, session: Session) -> None:
        self._idle = deque(pair for pair in self._idle if pair[0] is not session)
        self.retire(session)

    def retire(self, session: Session) -> None:
        """Close a session politely, in the background."""
        if not session.is_open:
            session.abort()
            return
        task = asyncio.create_task(session.quit())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def shrink(self, most: int) -> None:
        """Close the sessions idle longest, until at most `most` remain."""
        while len(self._idle) > most:
            session, timer = self._idle.popleft()
            timer.cancel()
            self.retire(session)

    def retire_idle(self) -> None:
        """Close every idle session."""
        self.shrink(0)

    async def close(self) -> None:
        """Close all idle sessions with QUIT, and wait until they are closed."""
        self.retire_idle()
        await asyncio.gather(*self._closing)
