"""Commit all waiting messages in one transaction (group commit), then wake their callers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Any, Final, Protocol

from app import tracing
from app.accept.group import Acceptance, Group, get_unit
from app.domain.delivery.metrics import DeliveryMetrics
from app.domain.errors import Unavailable
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.types import NewMessage
from app.store.db.database import Database
from app.store.db.errors import CommitUnknown, database_unavailable
from app.store.idempotency import KeyedRequest
from app.store.outbox import acceptance as outbox
from app.store.outbox.leases import NO_LEASE, Lease

log = logging.getLogger(__name__)

MAX_GROUP: Final = 200
MAX_GROUP_BYTES: Final = 16 * 1024 * 1024
MAX_FILL_TURNS: Final = 5
MAX_WAITING_BYTES: Final = 256 * 1024 * 1024
# A restart of the database takes less, and no caller waits longer.
MAX_DOUBT_SECONDS: Final = 10.0
RECHECK_SECONDS: Final = 0.1


@frozen_dataclass
class _Entry:
    acceptance: Acceptance
    future: asyncio.Future[KeyedRequest | None]


class Handover(Protocol):
    """Hands stored messages to delivery in memory, so that no worker reads them."""

    def reserve(self, messages: Sequence[NewMessage]) -> Lease:
        """Return the lease to store the messages with; it may cover only some."""
        ...

    def hand_over(self, messages: Sequence[NewMessage], lease: Lease) -> None:
        """Called after the commit."""
        ...

    def withdraw(self, lease: Lease) -> None:
        """Called if the messages were not stored."""
        ...


@dataclass(slots=True, eq=False)
class Committer:
    """Stores messages: at once when idle, otherwise with all that wait meanwhile.

    While one group commits, the next one fills, and then waits for turns of the event loop as long
    as each brings more messages.
    """

    database: Database
    metrics: DeliveryMetrics
    handover: Handover | None = None
    _: KW_ONLY
    now: Callable[[], datetime]
    _queue: asyncio.Queue[list[_Entry]] = field(default_factory=asyncio.Queue)
    _waiting_bytes: int = 0
    _is_running: bool = False

    async def accept(self, acceptance: Acceptance) -> KeyedRequest | None:
        """Return once the message is durable (invariant 1).

        Returns the earlier request with the same key, if there is one; then nothing is stored.
        Raises QuotaError if the quota has no room, and Unavailable if the database is away or too
        many messages wait; nothing is stored then either.
        """
        with self._enqueue([acceptance]) as [entry]:
            return await entry.future

    async def accept_all(
        self, acceptances: Sequence[Acceptance]
    ) -> list[KeyedRequest | Exception | None]:
        """Return once the messages are durable; one transaction stores them all.

        Returns for each what `accept` returns or raises. Raises Unavailable if none is stored.
        """
        with self._enqueue(acceptances) as entries:
            return [await _await_outcome(entry.future) for entry in entries]

    @contextmanager
    def _enqueue(self, acceptances: Sequence[Acceptance]) -> Iterator[list[_Entry]]:
        """Queue messages for one transaction; their callers wait in the block."""
        if not self._is_running or self._waiting_bytes > MAX_WAITING_BYTES:
            raise Unavailable(
                "overloaded",
                "The service has too many messages in memory, or is stopping. Nothing was written;"
                " send the request again.",
            )
        loop = asyncio.get_running_loop()
        spans = tracing.produce(acceptance.message for acceptance in acceptances)
        if spans:
            acceptances = [
                replace(acceptance, message=span.message)
                for acceptance, span in zip(acceptances, spans, strict=True)
            ]
        entries = [_Entry(acceptance, loop.create_future()) for acceptance in acceptances]
        size_bytes = sum(entry.acceptance.size_bytes for entry in entries)
        self._waiting_bytes += size_bytes
        self._queue.put_nowait(entries)
        try:
            yield entries
        finally:
            self._waiting_bytes -= size_bytes
            for span, entry in zip(spans, entries, strict=False):  # there may be no spans
                span.end(_find_error(entry.future))
            for entry in entries:  # nobody awaits the entry of a caller that went away
                entry.future.cancel()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Accept while the block runs; on exit, store what waits first."""
        task = asyncio.create_task(self._run(), name="committer")
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False
            await self._queue.join()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:  # keep no reference to a message while idle
            await self._commit_with_others(await self._queue.get())

    async def _let_fill(self) -> None:
        """Wait for a turn of the event loop that brings no more messages, but for a few at most.

        Otherwise the first message that wakes the committer would be a group by itself.
        """
        for _ in range(MAX_FILL_TURNS):
            size = self._queue.qsize()
            if size >= MAX_GROUP or self._waiting_bytes >= MAX_GROUP_BYTES:
                break
            await asyncio.sleep(0)
            if self._queue.qsize() == size:
                break

    async def _commit_with_others(self, first: list[_Entry]) -> None:
        """Store the first messages with all others that fit into one group."""
        await self._let_fill()
        group, size_bytes, count = (
            list(first),
            sum(entry.acceptance.size_bytes for entry in first),
            1,
        )
        while len(group) < MAX_GROUP and size_bytes < MAX_GROUP_BYTES:
            try:
                next_entries = self._queue.get_nowait()
            except asyncio.QueueEmpty:
                break
            group += next_entries
            size_bytes += sum(entry.acceptance.size_bytes for entry in next_entries)
            count += 1
        await self._commit(group)
        for _ in range(count):
            self._queue.task_done()

    async def _commit(self, entries: Sequence[_Entry]) -> None:
        """Store a group. If one message makes it fail, store each unit by itself."""
        messages = [entry.acceptance.message for entry in entries]
        group = Group([entry.acceptance for entry in entries], self._reserve(messages))
        error = await self._write(group)
        lease = group.lease if error is None else NO_LEASE
        self._hand_over(messages, lease, group.reserved)
        if error is None or isinstance(error, Unavailable):
            for entry in entries:
                message_id = entry.acceptance.message.id
                _answer(
                    [entry],
                    error or group.refused.get(message_id),
                    group.earlier_requests.get(message_id),
                )
            return
        units = [list(unit) for _, unit in groupby(entries, lambda it: get_unit(it.acceptance))]
        if len(units) == 1:
            log.error("could not store a message", exc_info=error)
            _answer(entries, error)
            return
        for unit in units:
            await self._commit(unit)

    async def _write(self, group: Group) -> Exception | None:
        """Store a group; return the error, or None."""
        # This process delivers reserved messages: it need not wake others for them.
        announce = len(group.reserved) < len(group.acceptances)
        parents = (acceptance.message.origin.traceparent for acceptance in group.acceptances)
        with tracing.write_group("commit", parents) as span:
            error = await self._write_traced(group, announce=announce)
            if error is not None:
                span.fail(error)
        return error

    async def _write_traced(self, group: Group, *, announce: bool) -> Exception | None:
        try:
            if not group.is_plain or not await self.database.retry_transaction(
                group.write_plain, announce=announce, autocommit=True
            ):
                await self.database.retry_transaction(
                    lambda connection: group.write(connection, self.now()), announce=announce
                )
            self.metrics.record_group("accept", len(group.admitted))
            self.metrics.record_accepted(group.admitted)
        except CommitUnknown as unknown:
            if group.admitted:
                return await self._resolve_doubt(group.admitted[0], unknown)
            return database_unavailable() if group.is_plain else None
        except Exception as error:  # noqa: BLE001 - the waiting caller gets it
            return error
        return None

    def _reserve(self, messages: Sequence[NewMessage]) -> Lease:
        if self.handover is None:
            return NO_LEASE
        try:
            return self.handover.reserve(messages)
        except Exception:  # continue without handover, which only saves time
            log.exception("handing messages over through the queue")
            return NO_LEASE

    def _hand_over(self, messages: Sequence[NewMessage], lease: Lease, reserved: Lease) -> None:
        if self.handover is None:
            return
        try:
            self.handover.hand_over(messages, lease)
            self.handover.withdraw(reserved)
        except Exception:  # the messages are stored, and their leases expire
            log.exception("could not hand accepted messages over to delivery")
        if len(lease) < len(reserved):
            self.database.wake()

    async def _resolve_doubt(self, message: NewMessage, doubt: CommitUnknown) -> Unavailable | None:
        """Find out whether a commit without an answer succeeded, from one of its messages."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_DOUBT_SECONDS):
                while True:
                    try:
                        async with self.database.transaction() as connection:
                            is_stored = await outbox.is_committed(connection, message_id=message.id)
                    except Unavailable:
                        pass
                    except Exception:  # callers wait for the answer
                        log.exception("unexpected error after a commit without an answer")
                    else:
                        return None if is_stored else database_unavailable()
                    await asyncio.sleep(RECHECK_SECONDS)
        return doubt


def _find_error(future: asyncio.Future[Any]) -> BaseException | None:
    """Find why a message was not stored; None also if that is not known yet."""
    return future.exception() if future.done() and not future.cancelled() else None


async def _await_outcome(
    future: asyncio.Future[KeyedRequest | None],
) -> KeyedRequest | Exception | None:
    try:
        return await future
    except Exception as error:  # noqa: BLE001 - the waiting caller gets it
        return error


def _answer(
    entries: Sequence[_Entry], error: Exception | None, earlier: KeyedRequest | None = None
) -> None:
    for entry in entries:
        if entry.future.done():  # the caller went away; the message is stored all the same
            continue
        if error is None:
            entry.future.set_result(earlier)
        else:
            entry.future.set_exception(error)
