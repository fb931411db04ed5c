"""Commit all waiting messages in one transaction (group commit), then wake their callers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from typing import Final, Protocol

from app.accept.batch import Group, Submission
from app.domain.delivery.metrics import DeliveryMetrics
from app.domain.errors import Unavailable
from app.domain.types import NewMessage
from app.domain.value import frozen_dataclass
from app.store.db.engine import Database
from app.store.db.errors import CommitUnknown, database_unavailable
from app.store.idempotency import KeyedRequest
from app.store.outbox import queries as outbox
from app.store.outbox.queries import NO_LEASE, Lease

log = logging.getLogger(__name__)

MAX_GROUP: Final = 200
MAX_GROUP_BYTES: Final = 16 * 1024 * 1024
MAX_WAITING_BYTES: Final = 256 * 1024 * 1024
# A restart of the database takes less; longer than this no caller waits for its answer.
MAX_DOUBT_SECONDS: Final = 10.0
RECHECK_SECONDS: Final = 0.1


@frozen_dataclass
class _Entry:
    submission: Submission
    future: asyncio.Future[KeyedRequest | None]


class Handover(Protocol):
    """Takes over messages in memory when they are stored, so that no worker has to read them."""

    def reserve(self, messages: Sequence[NewMessage]) -> Lease:
        """The lease to write the messages with; it may cover some or none of them."""
        ...

    def hand_over(self, messages: Sequence[NewMessage], lease: Lease) -> None:
        """Called after the commit."""
        ...

    def withdraw(self, lease: Lease) -> None:
        """They were not written."""
        ...


class Committer:
    """Writes messages down: at once where it is idle, else together with all that came meanwhile.

    It waits for nothing to fill a group: while one commits, the next one fills by itself.
    """

    def __init__(
        self,
        database: Database,
        metrics: DeliveryMetrics,
        handover: Handover | None = None,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._now = now
        self._metrics = metrics
        self._handover = handover
        self._queue: asyncio.Queue[list[_Entry]] = asyncio.Queue()
        self._waiting_bytes = 0
        self._is_running = False

    async def accept(self, submission: Submission) -> KeyedRequest | None:
        """Return once the message is durable (invariant 1).

        Answers the request that had used the key of this one before, if any had: then nothing was
        written. Nor where it raises: QuotaError where its tenant's quota has no room for it, and
        Unavailable where the database does not take it now or too much waits already.
        """
        with self._enqueue([submission]) as [entry]:
            return await entry.future

    async def accept_all(
        self, submissions: Sequence[Submission]
    ) -> list[KeyedRequest | Exception | None]:
        """Return once the messages are durable, which are written in one transaction.

        Answers for each what `accept` answers or raises. Raises Unavailable where none is taken.
        """
        with self._enqueue(submissions) as entries:
            return [await _await_outcome(entry.future) for entry in entries]

    @contextmanager
    def _enqueue(self, submissions: Sequence[Submission]) -> Iterator[list[_Entry]]:
        """Offers that are to be written in one transaction, and whose callers wait in the block."""
        if not self._is_running or self._waiting_bytes > MAX_WAITING_BYTES:
            raise Unavailable(
                "overloaded",
                "The service has too many messages in memory, or is stopping. Nothing was written;"
                " send the request again.",
            )
        loop = asyncio.get_running_loop()
        entries = [_Entry(offer, loop.create_future()) for offer in submissions]
        size_bytes = sum(entry.submission.size_bytes for entry in entries)
        self._waiting_bytes += size_bytes
        self._queue.put_nowait(entries)
        try:
            yield entries
        finally:
            self._waiting_bytes -= size_bytes
            for entry in entries:  # where its caller went away nobody asks what became of it
                entry.future.cancel()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Accept while the block runs; when it ends, what waits is written first."""
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
        while True:  # and hold no message while there is none to write
            await self._commit_with_others(await self._queue.get())

    async def _commit_with_others(self, first: list[_Entry]) -> None:
        """Write what came first, and all that fits into one group with it."""
        group, size_bytes, count = (
            list(first),
            sum(entry.submission.size_bytes for entry in first),
            1,
        )
        while len(group) < MAX_GROUP and size_bytes < MAX_GROUP_BYTES:
            try:
                next_entries = self._queue.get_nowait()
            except asyncio.QueueEmpty:
                break
            group += next_entries
            size_bytes += sum(entry.submission.size_bytes for entry in next_entries)
            count += 1
        await self._commit(group)
        for _ in range(count):
            self._queue.task_done()

    async def _commit(self, entries: Sequence[_Entry]) -> None:
        """Write a group. If one message makes it fail, write each by itself."""
        messages = [entry.submission.message for entry in entries]
        group = Group([entry.submission for entry in entries], self._reserve(messages))
        error = await self._write(group)
        lease = group.lease if error is None else NO_LEASE
        self._hand_over(messages, lease, group.reserved)
        if error is None or isinstance(error, Unavailable):
            for entry in entries:
                message_id = entry.submission.message.id
                _answer(
                    [entry],
                    error or group.refused.get(message_id),
                    group.earlier_requests.get(message_id),
                )
        elif len(entries) == 1:
            log.error("could not store a message", exc_info=error)
            _answer(entries, error)
        else:
            for entry in entries:
                await self._commit([entry])

    async def _write(self, group: Group) -> Exception | None:
        """Write, and answer why it could not be done, or None."""
        # What is reserved is delivered here: no other process has to be told of it.
        announce = len(group.reserved) < len(group.submissions)
        try:
            if not group.is_plain or not await self._database.retry_transaction(
                group.write_plain, announce=announce, autocommit=True
            ):
                await self._database.retry_transaction(
                    lambda connection: group.write(connection, self._now()), announce=announce
                )
            self._metrics.record_group("accept", len(group.admitted))
        except CommitUnknown as unknown:
            if group.admitted:
                return await self._resolve_doubt(group.admitted[0], unknown)
            return database_unavailable() if group.is_plain else None
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            return error
        return None

    def _reserve(self, messages: Sequence[NewMessage]) -> Lease:
        if self._handover is None:
            return NO_LEASE
        try:
            return self._handover.reserve(messages)
        except Exception:  # it is faster, and no more than that
            log.exception("handing messages over through the queue")
            return NO_LEASE

    def _hand_over(self, messages: Sequence[NewMessage], lease: Lease, reserved: Lease) -> None:
        if self._handover is None:
            return
        try:
            self._handover.hand_over(messages, lease)
            self._handover.withdraw(reserved)
        except Exception:  # they are stored: their leases run out by themselves
            log.exception("could not hand accepted messages over to delivery")
        if len(lease) < len(reserved):
            self._database.wake()

    async def _resolve_doubt(self, message: NewMessage, doubt: CommitUnknown) -> Unavailable | None:
        """What to answer after a commit without an answer: one of its messages stands for all."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_DOUBT_SECONDS):
                while True:
                    try:
                        async with self._database.transaction() as connection:
                            is_stored = await outbox.is_committed(connection, message_id=message.id)
                    except Unavailable:
                        await asyncio.sleep(RECHECK_SECONDS)
                    else:
                        return None if is_stored else database_unavailable()
        return doubt


async def _await_outcome(
    future: asyncio.Future[KeyedRequest | None],
) -> KeyedRequest | Exception | None:
    try:
        return await future
    except Exception as error:  # noqa: BLE001 - whoever asked is told which it was
        return error


def _answer(
    entries: Sequence[_Entry], error: Exception | None, earlier: KeyedRequest | None = None
) -> None:
    for entry in entries:
        if entry.future.done():  # its caller went away; the message is written all the same
            continue
        if error is None:
            entry.future.set_result(earlier)
        else:
            entry.future.set_exception(error)
