"""Write finished sessions to the log, in batches."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import fields
from functools import partial
from typing import Final

from app.domain.clock import monotonic_seconds
from app.domain.errors import Unavailable
from app.domain.submissions import SubmissionSession
from app.store import submissions
from app.store.db.database import Database
from app.store.db.retry_loop import run_until_stopped
from app.submission.session_record import Journal

log = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 0.25
# Sessions, transactions and recipients of a group: more would hold up the event loop.
MAX_GROUP_ENTRIES: Final = 300
# A session has at most about 100 kB, so these have at most 50 MB.
MAX_WAITING: Final = 500
LAST_FLUSH_SECONDS: Final = 2.0
MINUTE_SECONDS: Final = 60.0
# Of sessions without a login, which anyone can open.
MAX_STRANGERS_PER_MINUTE: Final = 60
MAX_STRANGERS_PER_CLIENT: Final = 10


class SessionLog:
    """Writes finished sessions while `running`. No session waits for it.

    While the database is away, it drops the oldest sessions beyond MAX_WAITING. `count_dropped`
    takes a reason (`queue`, `rate` or `error`) and how many it dropped.
    """

    def __init__(
        self,
        database: Database,
        *,
        wait_ready: Callable[[], Awaitable[None]],
        count_dropped: Callable[[str, int], None],
        monotonic: Callable[[], float] = monotonic_seconds,
    ) -> None:
        self._database = database
        self._wait_ready = wait_ready
        self._count_dropped = count_dropped
        self._strangers = _StrangerLimit(monotonic)
        self._waiting = deque[Journal]()
        self._has_waiting = asyncio.Event()
        self._is_dropping = False

    def keep(self, journal: Journal) -> None:
        """Queue a finished session, unless it was a probe."""
        if journal.is_probe:
            return
        if journal.tenant_id is None and not self._strangers.allow(journal.client_address):
            self._count_dropped("rate", 1)
            return
        self._waiting.append(journal)
        self._has_waiting.set()
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Drop what does not fit the queue."""
        count = len(self._waiting) - MAX_WAITING
        for _ in range(count):
            self._waiting.popleft()
        if count > 0:
            self._drop("queue", count)

    def _drop(self, reason: str, count: int) -> None:
        self._count_dropped(reason, count)
        if not self._is_dropping:
            log.warning("the database does not take the log of SMTP sessions: dropping sessions")
            self._is_dropping = True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write while the block runs, then write what is left, for two seconds at most."""
        task = asyncio.create_task(self._run(), name="submission log")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self._write_rest()

    async def _run(self) -> None:
        await self._wait_ready()
        await run_until_stopped(self._write_next, "the log of SMTP sessions")

    async def _write_next(self) -> None:
        """Wait for sessions, let more of them gather, and write all."""
        await self._has_waiting.wait()
        await asyncio.sleep(FLUSH_SECONDS)
        while self._waiting:
            await self._write_group()
        self._has_waiting.clear()

    async def _write_group(self) -> None:
        group = self._take_group()
        sessions = [_to_session(journal) for journal in group]
        try:
            await self._database.retry_transaction(partial(submissions.insert, sessions=sessions))
        except (Unavailable, asyncio.CancelledError):
            # It may be stored already; the statement skips what exists.
            self._waiting.extendleft(reversed(group))
            self._drop_oldest()
            raise
        except Exception:
            self._drop("error", len(group))
            raise
        self._is_dropping = False

    def _take_group(self) -> list[Journal]:
        group, entry_count = list[Journal](), 0
        while self._waiting and entry_count < MAX_GROUP_ENTRIES:
            group.append(self._waiting.popleft())
            entry_count += 1 + group[-1].entry_count
        return group

    async def _write_rest(self) -> None:
        try:
            async with asyncio.timeout(LAST_FLUSH_SECONDS):
                while self._waiting:
                    await self._write_group()
        except (TimeoutError, Unavailable):
            pass
        except Exception:
            log.exception("could not write the log of SMTP sessions")
        if self._waiting:
            self._drop("queue", len(self._waiting))


class _StrangerLimit:
    """Limits how many sessions without a login are kept in a minute."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._ends_at = monotonic()
        self._by_client = Counter[str | None]()

    def allow(self, client: str | None) -> bool:
        """Count a session of a client, and return whether to keep it."""
        now = self._monotonic()
        if now >= self._ends_at:
            self._by_client.clear()
            self._ends_at = now + MINUTE_SECONDS
        if (
            self._by_client.total() >= MAX_STRANGERS_PER_MINUTE
            or self._by_client[client] >= MAX_STRANGERS_PER_CLIENT
        ):
            return False
        self._by_client[client] += 1
        return True


def _to_session(journal: Journal) -> SubmissionSession:
    return SubmissionSession(
        **{field.name: getattr(journal, field.name) for field in fields(SubmissionSession)}
    )
